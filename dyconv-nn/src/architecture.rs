//! What a network is, apart from its numbers: blocks, asked for as plain data.

use dyconv_core::{Layout, Options, Result};
use serde::{Deserialize, Serialize};

use crate::Graph;

/// What is asked for. Public fields, no promises; [`Architecture::build`] proves them.
///
/// ```
/// use dyconv_core::{Activation, Attention, Options, Padding, hidden};
/// use dyconv_nn::{Architecture, Block};
///
/// let dynamic = |channels| {
///     Options::new(channels, 16)
///         .kernel_size([3, 3])
///         .padding(Padding::Same)
///         .experts(4)
///         .attention(Attention::mlp(hidden::paper(channels)))
///         .activation(Activation::Relu)
/// };
/// let graph = Architecture::new([1, 8, 8])
///     .convolution("stem", dynamic(1))
///     .residual([Block::convolution("a", dynamic(16)), Block::convolution("b", dynamic(16))], None)
///     .max_pool([2, 2], [2, 2])
///     .classifier(16, 10)
///     .build()?;
/// assert_eq!((graph.classes(), graph.layers().len()), (10, 4));
///
/// let error = Architecture::new([3, 8, 8]).convolution("stem", dynamic(1)).classifier(16, 10).build().unwrap_err();
/// assert_eq!(error.to_string(), "layer `stem`: input is 1×3×8×8 (N×C×H×W); expected 1 channels");
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Architecture {
    /// An image's channels, height and width.
    pub input: [usize; 3],
    /// What it goes through, in this order.
    pub blocks: Vec<Block>,
}

/// A part of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Block {
    /// One layer.
    Convolution(Convolution),
    /// Blocks whose output is added to their input, before the last one's activation. The last must be a convolution:
    /// the sum is that layer's residual.
    Residual {
        /// The blocks.
        body: Vec<Block>,
        /// What the input goes through on the way around; nothing where `None`.
        #[serde(default)]
        shortcut: Option<Convolution>,
    },
    /// The maximum over windows; padding counts as −∞ and is at most half the window.
    MaxPool {
        /// Window `[height, width]`.
        window: [usize; 2],
        /// Distance between windows.
        stride: [usize; 2],
        /// Rows above and below, columns at the left and right.
        padding: [usize; 2],
    },
    /// The mean over each channel's pixels.
    GlobalMean,
}

/// A layer's name and options; one expert without attention is a static convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Convolution {
    /// Letters, digits, `_`, `-` and `.`; no two layers share one. Tensors in files, errors and read-outs carry it.
    pub name: String,
    /// The layer.
    pub options: Options,
}

impl Convolution {
    /// A layer of this name.
    pub fn new(name: impl Into<String>, options: Options) -> Self {
        Self { name: name.into(), options }
    }
}

impl Block {
    /// A layer of this name.
    #[must_use]
    pub fn convolution(name: impl Into<String>, options: Options) -> Self {
        Self::Convolution(Convolution::new(name, options))
    }
}

impl Architecture {
    /// A network for images of `[channels, height, width]`, without blocks yet.
    pub fn new(input: [usize; 3]) -> Self {
        Self { input, blocks: Vec::new() }
    }

    /// Adds a block.
    pub fn block(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Adds a layer.
    pub fn convolution(self, name: impl Into<String>, options: Options) -> Self {
        self.block(Block::convolution(name, options))
    }

    /// Adds a residual block.
    pub fn residual(
        self,
        body: impl IntoIterator<Item = Block>,
        shortcut: impl Into<Option<Convolution>>,
    ) -> Self {
        self.block(Block::Residual { body: body.into_iter().collect(), shortcut: shortcut.into() })
    }

    /// Adds a maximum over windows, without padding.
    pub fn max_pool(self, window: [usize; 2], stride: [usize; 2]) -> Self {
        self.block(Block::MaxPool { window, stride, padding: [0, 0] })
    }

    /// Adds the end of a classifier: global mean, and a static 1×1 layer named `head`, with bias, for the logits.
    pub fn classifier(self, channels: usize, classes: usize) -> Self {
        self.block(Block::GlobalMean).convolution("head", Options::new(channels, classes).bias(true))
    }

    /// Sets the layout of every layer.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.for_each_convolution(&mut |convolution| convolution.options.layout = layout);
        self
    }

    /// Proves the architecture.
    ///
    /// # Errors
    /// The first block that can't be, by its layer's name or its place.
    pub fn build(self) -> Result<Graph> {
        Graph::new(self)
    }

    /// Visits every layer, shortcuts included.
    pub(crate) fn for_each_convolution(&mut self, visit: &mut impl FnMut(&mut Convolution)) {
        visit_all(&mut self.blocks, visit);
    }
}

fn visit_all(blocks: &mut [Block], visit: &mut impl FnMut(&mut Convolution)) {
    for block in blocks {
        match block {
            Block::Convolution(convolution) => visit(convolution),
            Block::Residual { body, shortcut } => {
                visit_all(body, visit);
                shortcut.iter_mut().for_each(&mut *visit);
            }
            Block::MaxPool { .. } | Block::GlobalMean => {}
        }
    }
}
