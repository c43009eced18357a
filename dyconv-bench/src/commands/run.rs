//! `dyconv run IMAGE`: the user's picture through the demonstration's layer, or through a case file's.

use std::path::{Path, PathBuf};

use dyconv_core::case::Case;
use dyconv_core::{AnyBackend, Attention, Backend, Call, Error, Layout, Prepare, Result, Tensor};
use image::{Rgb, RgbImage};

use super::{Ending, present, shown};
use crate::data::SEED;
use crate::demo::{Demo, EXPLANATION, FILTERS, TEMPERATURES, sheet};
use crate::output::{make_folder, print, write_png};
use crate::picture::{fit, from_channels, open, to_batch, to_grey};
use crate::progress::Progress;
use crate::roster::Wanted;
use crate::table::table;

/// Arguments of `dyconv run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A PNG or JPEG picture
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// The backend: simd (the best here) or a name of `dyconv backends`
    #[arg(long, value_name = "NAME", default_value = "simd")]
    pub backend: String,
    /// Threads of a CPU backend; by default what it chooses itself
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Experts, K: blur, sharpen, horizontal edges, vertical edges, unchanged, emboss, outline, motion blur
    #[arg(long, short = 'k', value_name = "K", default_value_t = 4, conflicts_with = "case")]
    pub experts: usize,
    /// Temperatures, separated by commas [default: 30,5,1; with --case the layer's own]
    #[arg(long, value_name = "T", value_delimiter = ',', allow_negative_numbers = true)]
    pub temperature: Vec<f64>,
    /// A case file, whose layer is taken instead of the known filters; it must have 1 or 3 input channels
    #[arg(long, value_name = "FILE")]
    pub case: Option<PathBuf>,
    /// Attention weights for the layer of --case, separated by commas, given instead of computed
    #[arg(long, value_name = "PI", value_delimiter = ',', requires = "case", allow_hyphen_values = true)]
    pub pi: Vec<f32>,
    /// A larger picture is reduced to this many pixels along its longer side
    #[arg(long, value_name = "PIXELS", default_value_t = 1024)]
    pub size: u32,
    /// Folder for the results
    #[arg(long, value_name = "FOLDER", default_value = "dyconv-out")]
    pub out: PathBuf,
}

/// Channels of a layer's output that are written as pictures.
const MOST_CHANNELS: usize = 64;

/// Runs the picture and writes the results.
///
/// # Errors
/// Where the picture, the case file, an option or the folder can't be used, or the backend fails.
pub fn run(args: &Args) -> Result<Ending> {
    if args.size == 0 {
        return Err(Error::invalid("size", 0, "at least 1 pixel"));
    }
    let wanted = Wanted::parse(std::slice::from_ref(&args.backend))?;
    let read = open(&args.image)?;
    let picture = fit(&read, args.size);
    make_folder(&args.out)?;
    let Some(backend) = present(&wanted.open(args.threads)?).into_iter().next() else {
        return Err(Error::invalid("backend", &args.backend, "one that is present"));
    };
    if picture.dimensions() != read.dimensions() {
        let [(w, h), (width, height)] = [read.dimensions(), picture.dimensions()];
        print(&format!("reduced from {w} × {h} to {width} × {height}; --size changes that"))?;
    }
    match &args.case {
        Some(case) => run_case(args, case, &picture, &backend),
        None => run_filters(args, &picture, &backend),
    }
}

fn run_filters(args: &Args, picture: &RgbImage, backend: &AnyBackend) -> Result<Ending> {
    let temperatures = if args.temperature.is_empty() { &TEMPERATURES[..] } else { &args.temperature };
    let progress = Progress::new("running", 3);
    let demo = Demo::new(picture, args.experts, SEED)?;
    progress.say("each expert alone");
    let alone = demo.alone(backend)?;
    progress.step();
    progress.say("mixed");
    let mixed = demo.mix(backend, temperatures)?;
    progress.step();
    progress.say("drawing");
    let notes = [EXPLANATION.to_string(), format!("{} on {}", shown(&args.image), backend.info().id)];
    let sheet_path = args.out.join("run-sheet.png");
    write_png(&sheet_path, &sheet(&demo.copies, &alone, &mixed, &notes))?;
    let mut written = vec![shown(&sheet_path)];
    if let Some(last) = mixed.last() {
        for (sample, copy) in demo.copies.iter().enumerate() {
            let path = args.out.join(format!("run-{}.png", copy.slug));
            write_png(&path, &from_channels(last.output.view(), sample, [0, 1, 2]))?;
            written.push(shown(&path));
        }
    }
    drop(progress);
    let header: Vec<_> =
        ["picture", "T"].into_iter().chain(FILTERS.map(|f| f.name)).take(2 + alone.len()).collect();
    let lines = demo.copies.iter().enumerate().flat_map(|(sample, copy)| {
        mixed.iter().map(move |mixed| {
            let weights = mixed.weights(sample).iter().map(|weight| format!("{weight:.3}"));
            [copy.name.to_string(), mixed.temperature.to_string()].into_iter().chain(weights).collect()
        })
    });
    print(&format!("attention weights on {}\n{}", backend.info().id, table(&header, 1, lines)))?;
    print(&format!("written: {}", written.join(", ")))?;
    Ok(Ending::Well)
}

fn run_case(args: &Args, path: &Path, picture: &RgbImage, backend: &AnyBackend) -> Result<Ending> {
    let case = Case::open(path)?;
    let layer = case.layer();
    let config = layer.config();
    let input = match config.in_channels() {
        1 => to_grey(picture)?,
        3 => to_batch(std::slice::from_ref(picture))?,
        other => {
            return Err(Error::invalid(
                format!("in_channels of {}", shown(path)),
                other,
                "1 (grey) or 3 (colour), since a picture goes in",
            ));
        }
    };
    let input = input.to_layout(config.layout());
    let pi = given_attention(&args.pi, config.attention(), config.experts())?;
    let temperatures: Vec<Option<f64>> = match args.temperature.as_slice() {
        [] => vec![None],
        several => several.iter().copied().map(Some).collect(),
    };
    let mut stream = backend.stream()?;
    let prepared = backend.prepare(layer, &Prepare::default().input(input.shape()))?;
    let x = backend.upload(&mut stream, input.view())?;
    let pi = pi.map(|pi| backend.upload(&mut stream, pi.view())).transpose()?;
    for temperature in temperatures {
        let call = Call::new(&x).attention(pi.as_ref()).temperature(temperature).return_attention(true);
        let result = backend.forward(&mut stream, &prepared, &call)?;
        let output = backend.download(&mut stream, &result.output)?;
        let attention = result.attention.map(|pi| backend.download(&mut stream, &pi)).transpose()?;
        let suffix = temperature.map(|t| format!("-T{t}")).unwrap_or_default();
        let file = args.out.join(format!("run-case{suffix}.png"));
        write_png(&file, &channels(&output))?;
        let weights = attention.map(|pi| format!("{:.4?}", pi.data())).unwrap_or_default();
        print(&format!("{}: output {}, attention {weights}", backend.info().id, output.shape()))?;
        print(&format!("written: {}{}", shown(&file), note(&output)))?;
    }
    Ok(Ending::Well)
}

fn given_attention(pi: &[f32], attention: Option<Attention>, experts: usize) -> Result<Option<Tensor>> {
    if pi.is_empty() {
        if attention == Some(Attention::Given) {
            let expected = format!("{experts} numbers, since the layer's attention is `given`");
            return Err(Error::invalid("pi", "missing", expected));
        }
        return Ok(None);
    }
    if pi.len() != experts {
        return Err(Error::invalid(
            "pi",
            format!("{} numbers", pi.len()),
            format!("{experts}, one per expert"),
        ));
    }
    if let Some(k) = pi.iter().position(|weight| !weight.is_finite()) {
        return Err(Error::invalid(format!("pi[{k}]"), pi[k], "a finite number"));
    }
    Tensor::attention(1, experts, pi.to_vec()).map(Some)
}

fn note(output: &Tensor) -> String {
    match output.shape().channels() {
        1 | 3 => String::new(),
        n if n <= MOST_CHANNELS => {
            format!(" ({n} channels side by side, each from its least to its largest value)")
        }
        n => format!(
            " (the first {MOST_CHANNELS} of {n} channels side by side, each from its least to its largest value)"
        ),
    }
}

/// A picture of one sample: grey or colour as it is; of another number of channels all side by side, each stretched
/// to the range from black to white.
fn channels(output: &Tensor) -> RgbImage {
    let shape = output.shape();
    match shape.channels() {
        1 => return from_channels(output.view(), 0, [0; 3]),
        3 => return from_channels(output.view(), 0, [0, 1, 2]),
        _ => {}
    }
    let output = output.to_layout(Layout::Nchw);
    let count = shape.channels().min(MOST_CHANNELS);
    let columns = count.isqrt().max(1);
    let (width, height) = (shape.width() as u32, shape.height() as u32);
    let rows = count.div_ceil(columns) as u32;
    let mut grid = RgbImage::new((width + 2) * columns as u32, (height + 2) * rows);
    for (channel, values) in output.data().chunks(shape.pixels()).take(count).enumerate() {
        let (low, high) =
            values.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
        let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
        let (left, top) =
            ((channel % columns) as u32 * (width + 2), (channel / columns) as u32 * (height + 2));
        for (i, &value) in values.iter().enumerate() {
            let (x, y) = (i as u32 % width, i as u32 / width);
            grid.put_pixel(left + x, top + y, Rgb([((value - low) * scale) as u8; 3]));
        }
    }
    grid
}
