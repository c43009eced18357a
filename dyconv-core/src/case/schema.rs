//! Which tensors a case of some configuration has, held against a file's header before any data is read.

use super::{Mode, config, expected};
use crate::container::Header;
use crate::{Attention, Config, Layout, ParamSpec, Shape};

/// Headers of real cases have about 2000 bytes; longer ones take too long to parse.
pub(super) const MAX_HEADER: usize = 1 << 20;

/// What a header promises, once it has been proven to keep to the format.
pub(super) struct Schema {
    pub(super) config: Config,
    pub(super) mode: Mode,
    pub(super) input: Shape,
    pub(super) output: Shape,
    /// Parameters that gradients may be expected of.
    pub(super) learned: Vec<ParamSpec>,
}

struct Entry {
    name: String,
    shape: Vec<usize>,
    required: bool,
}

impl Schema {
    /// Proves a header: metadata, configuration, and every tensor's presence, shape and type.
    pub(super) fn new(header: &Header) -> Result<Self, String> {
        let (config, mode) = read_config(header)?;
        let input = read_input(header, config.layout())?;
        let output = config.output_shape(input).map_err(|e| e.to_string())?;
        let mut learned = ParamSpec::all(&config);
        learned.retain(|spec| spec.learned() && header.shape(spec.name).is_some());
        let schema = Self { config, mode, input, output, learned };
        schema.check(header)?;
        Ok(schema)
    }

    fn check(&self, header: &Header) -> Result<(), String> {
        let entries = self.entries(header);
        for entry in &entries {
            let Entry { name, shape, required } = entry;
            match header.shape(name) {
                Some(found) if found != shape => {
                    return Err(format!("tensor `{name}` is {found:?}; expected {shape:?}"));
                }
                None if *required => return Err(format!("tensor `{name}` is missing; expected {shape:?}")),
                _ => header.check_f32(name)?,
            }
        }
        match header.names().find(|name| !entries.iter().any(|entry| entry.name == *name)) {
            Some(name) if name.starts_with("expect.grad.") && header.shape("grad.output").is_none() => {
                Err(format!("tensor `grad.output` is missing; expected it beside `{name}`"))
            }
            Some(name) => Err(format!("tensor `{name}` is there; expected no such tensor in this case")),
            None => Ok(()),
        }
    }

    fn entries(&self, header: &Header) -> Vec<Entry> {
        let layout = self.config.layout();
        let (input, output) = (extents(self.input, layout), extents(self.output, layout));
        let attention = [self.input.batch(), self.config.experts()];
        let mut entries: Vec<_> = ParamSpec::all(&self.config)
            .into_iter()
            .map(|ParamSpec { name, shape, required }| Entry { name: name.to_owned(), shape, required })
            .collect();
        let mut add = |name: &str, shape: &[usize], required| {
            entries.push(Entry { name: name.to_owned(), shape: shape.to_vec(), required });
        };
        add("input", &input, true);
        if self.config.attention() == Some(Attention::Given) {
            add("pi", &attention, true);
        }
        add("expect.output", &output, true);
        add("expect.pi", &attention, true);
        add("grad.output", &output, false);
        if header.shape("grad.output").is_some() {
            add("expect.grad.input", &input, false);
            if self.config.attention().is_some() {
                add("expect.grad.pi", &attention, false);
            }
            for spec in &self.learned {
                add(&expected::gradient_name(spec.name), &spec.shape, false);
            }
        }
        entries
    }
}

fn read_config(header: &Header) -> Result<(Config, Mode), String> {
    let entry = |key: &str| header.metadata(key).ok_or_else(|| format!("metadata `{key}` is missing"));
    for (key, expected) in [("format", config::FORMAT), ("version", config::VERSION)] {
        let value = entry(key)?;
        if value != expected {
            return Err(format!("metadata `{key}` is {value:?}; expected {expected:?}"));
        }
    }
    config::parse(entry("config")?)
}

fn read_input(header: &Header, layout: Layout) -> Result<Shape, String> {
    let extents = header.shape("input").ok_or("tensor `input` is missing; expected four extents")?;
    let shape = match (extents, layout) {
        (&[n, c, h, w], Layout::Nchw) | (&[n, h, w, c], Layout::Nhwc) => Shape::new(n, c, h, w),
        _ => return Err(format!("tensor `input` is {extents:?}; expected four extents")),
    };
    shape.map_err(|e| format!("tensor `input`: {e}"))
}

/// A shape's extents in the order of a layout.
pub(super) fn extents(shape: Shape, layout: Layout) -> [usize; 4] {
    let (n, c, h, w) = (shape.batch(), shape.channels(), shape.height(), shape.width());
    match layout {
        Layout::Nchw => [n, c, h, w],
        Layout::Nhwc => [n, h, w, c],
    }
}
