//! Blocks → nodes, with the proof that every shape fits.

use dyconv_core::{Attention, Error, Layout, Pool, Result, Shape};

use super::{Graph, LayerSpec, Node, Op};
use crate::error::in_layer;
use crate::{Architecture, Block, Convolution};

impl Graph {
    pub(crate) fn new(architecture: Architecture) -> Result<Self> {
        let [channels, height, width] = architecture.input;
        let input = Shape::new(1, channels, height, width)?;
        let mut builder = Builder { layers: Vec::new(), nodes: Vec::new(), shapes: vec![input] };
        let last = builder.blocks(&architecture.blocks, 0, "blocks")?;
        let output = builder.shapes[last];
        if builder.layers.is_empty() {
            return Err(Error::invalid("blocks", "without a layer", "at least one convolution"));
        }
        if output.pixels() != 1 {
            let expected = "one pixel per image, the logits: end with a global mean and a 1×1 convolution";
            return Err(Error::invalid("the network's output", output, expected));
        }
        let Builder { layers, mut nodes, .. } = builder;
        mark_sums(&mut nodes, &layers);
        mark_last_uses(&mut nodes);
        Ok(Self { architecture, layers, nodes, input, classes: output.channels() })
    }
}

struct Builder {
    layers: Vec<LayerSpec>,
    nodes: Vec<Node>,
    /// By slot, for a batch of one.
    shapes: Vec<Shape>,
}

impl Builder {
    /// Lowers blocks that read `slot`; gives the slot that the last one writes.
    fn blocks(&mut self, blocks: &[Block], mut slot: usize, path: &str) -> Result<usize> {
        for (i, block) in blocks.iter().enumerate() {
            slot = self.block(block, slot, &format!("{path}[{i}]"))?;
        }
        Ok(slot)
    }

    fn block(&mut self, block: &Block, slot: usize, path: &str) -> Result<usize> {
        match block {
            Block::Convolution(convolution) => self.layer(convolution, slot, None),
            Block::Residual { body, shortcut } => {
                let Some((Block::Convolution(last), before)) = body.split_last() else {
                    let expected = "a convolution, whose residual the block's input is";
                    return Err(Error::invalid(
                        format!("the end of {path}.body"),
                        "none or a pool",
                        expected,
                    ));
                };
                let around = match shortcut {
                    Some(convolution) => self.layer(convolution, slot, None)?,
                    None => slot,
                };
                let through = self.blocks(before, slot, &format!("{path}.body"))?;
                self.layer(last, through, Some(around))
            }
            Block::MaxPool { window, stride, padding } => {
                self.pool(Pool::Max { window: *window, stride: *stride, padding: *padding }, slot, path)
            }
            Block::GlobalMean => self.pool(Pool::GlobalMean, slot, path),
        }
    }

    fn pool(&mut self, pool: Pool, slot: usize, path: &str) -> Result<usize> {
        let shape = pool.output_shape(self.shapes[slot]).map_err(|error| match error {
            Error::Invalid { parameter, value, expected } => {
                Error::Invalid { parameter: format!("{path}: {parameter}"), value, expected }
            }
            other => other,
        })?;
        Ok(self.node(Op::Pool(pool), slot, shape))
    }

    fn layer(
        &mut self,
        Convolution { name, options }: &Convolution,
        slot: usize,
        residual: Option<usize>,
    ) -> Result<usize> {
        self.check_name(name)?;
        let spec = self.spec(name, *options, slot).map_err(in_layer(name))?;
        let output = spec.output;
        if let Some(around) = residual
            && self.shapes[around] != output
        {
            let error = Error::invalid("residual", self.shapes[around], output.to_string());
            return Err(in_layer(name)(error));
        }
        self.layers.push(spec);
        Ok(self.node(Op::Layer { index: self.layers.len() - 1, residual }, slot, output))
    }

    fn spec(&self, name: &str, options: dyconv_core::Options, slot: usize) -> Result<LayerSpec> {
        let config = options.build()?;
        if config.attention() == Some(Attention::Given) {
            return Err(Error::invalid(
                "attention",
                "given",
                "mlp, linear or none: nobody gives π in a network",
            ));
        }
        let input = self.shapes[slot];
        let output = config.output_shape(input)?;
        // With one pixel both layouts are the same bytes.
        let several = |shape: Shape| shape.pixels() > 1;
        if let Some(layout) = self.layout()
            && several(input)
            && config.layout() != layout
        {
            return Err(Error::invalid("layout", config.layout(), format!("{layout}, as the layers before")));
        }
        Ok(LayerSpec { name: name.to_owned(), config, input, output })
    }

    fn layout(&self) -> Option<Layout> {
        self.layers.first().map(|layer| layer.config.layout())
    }

    fn check_name(&self, name: &str) -> Result<()> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(legal) {
            return Err(Error::invalid(
                "a layer's name",
                format!("{name:?}"),
                "letters, digits, `_`, `-` and `.`",
            ));
        }
        match self.layers.iter().any(|layer| layer.name == name) {
            true => Err(Error::invalid(
                "a layer's name",
                format!("`{name}` again"),
                "one that no other layer has",
            )),
            false => Ok(()),
        }
    }

    fn node(&mut self, op: Op, input: usize, output: Shape) -> usize {
        self.nodes.push(Node { op, input, emit_sums: false, frees: Vec::new() });
        self.shapes.push(output);
        self.nodes.len()
    }
}

/// A global mean takes its input's sums, and so does a layer's head.
fn mark_sums(nodes: &mut [Node], layers: &[LayerSpec]) {
    for reader in 0..nodes.len() {
        let pools = match &nodes[reader].op {
            Op::Pool(pool) => *pool == Pool::GlobalMean,
            Op::Layer { index, .. } => layers[*index].is_dynamic(),
        };
        if let Some(writer) = nodes[reader].input.checked_sub(1)
            && pools
            && matches!(nodes[writer].op, Op::Layer { .. })
        {
            nodes[writer].emit_sums = true;
        }
    }
}

fn mark_last_uses(nodes: &mut [Node]) {
    let mut seen = vec![false; nodes.len() + 1];
    for node in nodes.iter_mut().rev() {
        let residual = match node.op {
            Op::Layer { residual, .. } => residual,
            Op::Pool(_) => None,
        };
        for slot in residual.into_iter().chain([node.input]) {
            if !std::mem::replace(&mut seen[slot], true) {
                node.frees.push(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::Options;

    use super::*;

    fn conv(name: &str, inputs: usize, outputs: usize) -> Block {
        Block::convolution(name, Options::new(inputs, outputs))
    }

    #[test]
    fn a_residual_block_reads_its_input_twice_and_frees_it_after_the_second_time() {
        let graph = Architecture::new([2, 4, 4])
            .block(conv("stem", 2, 3))
            .residual([conv("a", 3, 5), conv("b", 5, 3)], None)
            .residual([conv("c", 3, 4)], Convolution::new("around", Options::new(3, 4)))
            .classifier(4, 2)
            .build()
            .unwrap();
        let names: Vec<_> = graph.layers().iter().map(LayerSpec::name).collect();
        assert_eq!(names, ["stem", "a", "b", "around", "c", "head"]);
        let (reads, frees): (Vec<_>, Vec<_>) =
            graph.nodes().iter().map(|n| (n.input, n.frees.clone())).unzip();
        assert_eq!(reads, [0, 1, 2, 3, 3, 5, 6]);
        assert_eq!(frees, [vec![0], vec![], vec![1, 2], vec![], vec![4, 3], vec![5], vec![6]]);
        // Only `c` is pooled.
        let emits: Vec<_> = graph.nodes().iter().map(|n| n.emit_sums).collect();
        assert_eq!(emits, [false, false, false, false, true, false, false]);
    }

    #[test]
    fn errors_name_the_layer_or_the_place() {
        let refused = |architecture: Architecture| architecture.build().unwrap_err().to_string();
        let start = || Architecture::new([2, 4, 4]);
        assert_eq!(refused(start()), "blocks is without a layer; expected at least one convolution");
        assert!(refused(start().block(conv("a", 2, 3))).starts_with("the network's output is 1×3×4×4"));
        assert_eq!(
            refused(start().block(conv("a", 2, 3)).block(conv("b", 4, 3))),
            "layer `b`: input is 1×3×4×4 (N×C×H×W); expected 4 channels"
        );
        assert!(refused(start().block(conv("a", 2, 3)).block(conv("a", 3, 3))).contains("`a` again"));
        assert!(refused(start().block(conv("a/b", 2, 3))).contains("\"a/b\""));
        let options = Options::new(2, 2).groups(3);
        assert!(refused(start().convolution("g", options)).starts_with("layer `g`: groups is 3"));
        let given = Options::new(2, 2).attention(Attention::Given);
        assert!(refused(start().convolution("g", given)).starts_with("layer `g`: attention is given"));
        assert_eq!(
            refused(start().residual([conv("a", 2, 3)], None)),
            "layer `a`: residual is 1×2×4×4 (N×C×H×W); expected 1×3×4×4 (N×C×H×W)"
        );
        assert!(
            refused(start().residual([Block::GlobalMean], None)).starts_with("the end of blocks[0].body is")
        );
        assert!(refused(start().max_pool([5, 5], [1, 1])).starts_with("blocks[0]: "));
        let nhwc = Options::new(3, 3).layout(Layout::Nhwc);
        assert!(
            refused(start().block(conv("a", 2, 3)).convolution("b", nhwc))
                .starts_with("layer `b`: layout is nhwc")
        );
    }

    #[test]
    fn the_architecture_survives_json() {
        let architecture = Architecture::new([2, 4, 4])
            .residual([conv("a", 2, 3)], Convolution::new("s", Options::new(2, 3)))
            .max_pool([2, 2], [2, 2])
            .classifier(3, 2);
        let json = serde_json::to_string(&architecture).unwrap();
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);
        let typo = json.replace("shortcut", "short_cut");
        assert!(serde_json::from_str::<Architecture>(&typo).is_err());
    }
}
