//! Options and their proof.

use serde::{Deserialize, Serialize};

use super::{Activation, Attention, Geometry, Padding};
use crate::shape::checked_len;
use crate::{Error, Layout, Result, Shape};

/// Batch norm over the output's channels, between convolution and activation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// Added to the variance. `PyTorch` 1e-5, Keras 1e-3.
    pub epsilon: f64,
    /// How much of the running statistics a training step keeps: 1 − `PyTorch`'s momentum (0.9), Keras 0.99.
    pub keep: f64,
    /// Whether the running variance takes the unbiased batch variance (`PyTorch`) instead of the biased one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unbiased: bool,
}

impl BatchNorm {
    /// ε 1e-5, keep 0.9, unbiased running variance.
    pub const PYTORCH: Self = Self { epsilon: 1e-5, keep: 0.9, unbiased: true };
    /// ε 1e-3, keep 0.99, biased running variance.
    pub const KERAS: Self = Self { epsilon: 1e-3, keep: 0.99, unbiased: false };

    fn check(self) -> Result<()> {
        let single = self.epsilon as f32;
        if !(single.is_finite() && single > 0.0) {
            return Err(Error::invalid("batch_norm.epsilon", self.epsilon, "a finite f32 greater than 0"));
        }
        if !(0.0..=1.0).contains(&self.keep) {
            return Err(Error::invalid("batch_norm.keep", self.keep, "a number from 0 to 1"));
        }
        Ok(())
    }
}

/// What is asked for. Public fields, no promises; [`Options::build`] proves them.
///
/// Pairs are `[height, width]`.
///
/// ```
/// use dyconv_core::{Activation, Attention, Options, Padding, hidden};
///
/// let config = Options::new(64, 128)
///     .kernel_size([3, 3])
///     .stride([2, 2])
///     .padding(Padding::Same)
///     .experts(4)
///     .attention(Attention::mlp(hidden::paper(64)))
///     .bias(true)
///     .activation(Activation::Relu)
///     .build()?;
/// assert_eq!(config.geometry(56, 56)?.output, [28, 28]);
///
/// let error = Options::new(6, 8).groups(4).build().unwrap_err();
/// assert_eq!(error.to_string(), "groups is 4; expected a divisor of in_channels (6) and out_channels (8)");
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Options {
    /// Input channels, Cin.
    pub in_channels: usize,
    /// Output channels, Cout.
    pub out_channels: usize,
    /// Taps, kh × kw.
    pub kernel_size: [usize; 2],
    /// Distance between neighbouring outputs, in input pixels.
    pub stride: [usize; 2],
    /// Distance between neighbouring taps, in input pixels.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
    /// Groups, G.
    pub groups: usize,
    /// Experts, K.
    pub experts: usize,
    /// Whether each expert has a bias.
    pub bias: bool,
    /// Layout of input, output and residual.
    pub layout: Layout,
    /// The head that computes π; `None`, only with one expert, makes the layer static (π ≡ 1).
    pub attention: Option<Attention>,
    /// Batch norm.
    pub batch_norm: Option<BatchNorm>,
    /// Activation.
    pub activation: Activation,
}

impl Options {
    /// A static 1×1 convolution without padding or bias, to start from.
    pub fn new(in_channels: usize, out_channels: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel_size: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::Valid,
            groups: 1,
            experts: 1,
            bias: false,
            layout: Layout::Nchw,
            attention: None,
            batch_norm: None,
            activation: Activation::None,
        }
    }

    /// Sets the taps.
    pub fn kernel_size(mut self, kernel_size: [usize; 2]) -> Self {
        self.kernel_size = kernel_size;
        self
    }

    /// Sets the stride.
    pub fn stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the dilation.
    pub fn dilation(mut self, dilation: [usize; 2]) -> Self {
        self.dilation = dilation;
        self
    }

    /// Sets the padding.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the number of groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Sets the number of experts.
    pub fn experts(mut self, experts: usize) -> Self {
        self.experts = experts;
        self
    }

    /// Sets whether each expert has a bias.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Sets the layout.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Sets the attention head.
    pub fn attention(mut self, attention: impl Into<Option<Attention>>) -> Self {
        self.attention = attention.into();
        self
    }

    /// Sets batch norm.
    pub fn batch_norm(mut self, batch_norm: impl Into<Option<BatchNorm>>) -> Self {
        self.batch_norm = batch_norm.into();
        self
    }

    /// Sets the activation.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Proves the options.
    ///
    /// # Errors
    /// The first impossible option, with its value and what was expected.
    pub fn build(self) -> Result<Config> {
        for (name, extent) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("kernel_size[0]", self.kernel_size[0]),
            ("kernel_size[1]", self.kernel_size[1]),
            ("stride[0]", self.stride[0]),
            ("stride[1]", self.stride[1]),
            ("dilation[0]", self.dilation[0]),
            ("dilation[1]", self.dilation[1]),
            ("groups", self.groups),
            ("experts", self.experts),
        ] {
            check_extent(name, extent)?;
        }
        if let Padding::Explicit { top, bottom, left, right } = self.padding {
            for (name, pad) in [("top", top), ("bottom", bottom), ("left", left), ("right", right)] {
                if pad > MAX_EXTENT {
                    return Err(Error::invalid(
                        format!("padding.{name}"),
                        pad,
                        format!("at most {MAX_EXTENT}"),
                    ));
                }
            }
        }
        let Self { in_channels, out_channels, groups, .. } = self;
        if in_channels % groups != 0 || out_channels % groups != 0 {
            let expected =
                format!("a divisor of in_channels ({in_channels}) and out_channels ({out_channels})");
            return Err(Error::invalid("groups", groups, expected));
        }
        match self.attention {
            Some(attention) => attention.check()?,
            None if self.experts > 1 => {
                let expected = format!("a head or `given`, since there are {} experts", self.experts);
                return Err(Error::invalid("attention", "null", expected));
            }
            None => {}
        }
        self.batch_norm.map_or(Ok(()), BatchNorm::check)?;
        self.activation.check()?;
        self.check_sizes()?;
        Ok(Config(self))
    }

    /// Every parameter must fit the address space, and so must the kernel's reach.
    fn check_sizes(&self) -> Result<()> {
        let [kh, kw] = self.kernel_size;
        let in_group = self.in_channels / self.groups;
        let head = match self.attention {
            Some(Attention::Mlp { hidden, .. }) => [hidden, self.in_channels.max(self.experts)],
            _ => [self.experts, self.in_channels],
        };
        let sizes: [(&str, &[usize]); 3] = [
            ("weight", &[self.experts, self.out_channels, in_group, kh, kw]),
            ("bias", &[self.experts, self.out_channels]),
            ("attention weight", &head),
        ];
        for (name, extents) in sizes {
            if checked_len(extents).is_none() {
                let value = format!("{extents:?}");
                return Err(Error::invalid(
                    format!("shape of {name}"),
                    value,
                    "at most isize::MAX bytes of f32",
                ));
            }
        }
        for axis in 0..2 {
            let reach = (self.kernel_size[axis] - 1).checked_mul(self.dilation[axis]);
            if reach.is_none_or(|reach| reach >= isize::MAX as usize) {
                return Err(Error::invalid(
                    "dilation",
                    self.dilation[axis],
                    "a kernel extent that fits the address space",
                ));
            }
        }
        Ok(())
    }
}

/// Extents stay below 2³¹, so that GPUs can index them and products of two fit 64 bits.
const MAX_EXTENT: usize = i32::MAX as usize;

pub(super) fn check_extent(name: &str, extent: usize) -> Result<()> {
    if (1..=MAX_EXTENT).contains(&extent) {
        return Ok(());
    }
    Err(Error::invalid(name, extent, format!("an integer from 1 to {MAX_EXTENT}")))
}

/// A layer's configuration, proven: it comes only from [`Options::build`] (serde goes through it too),
/// and answers every question about extents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Options", into = "Options")]
pub struct Config(Options);

impl TryFrom<Options> for Config {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        options.build()
    }
}

impl From<Config> for Options {
    fn from(config: Config) -> Self {
        config.0
    }
}

impl Config {
    /// The options it was built from, to change and prove again.
    pub fn options(&self) -> Options {
        self.0
    }

    /// Input channels, Cin.
    #[must_use]
    pub fn in_channels(&self) -> usize {
        self.0.in_channels
    }

    /// Output channels, Cout.
    #[must_use]
    pub fn out_channels(&self) -> usize {
        self.0.out_channels
    }

    /// Groups, G.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.0.groups
    }

    /// Input channels that one output channel reads, Cin/G.
    #[must_use]
    pub fn in_channels_per_group(&self) -> usize {
        self.0.in_channels / self.0.groups
    }

    /// Output channels of one group, Cout/G.
    #[must_use]
    pub fn out_channels_per_group(&self) -> usize {
        self.0.out_channels / self.0.groups
    }

    /// Kernel size `[kh, kw]`.
    #[must_use]
    pub fn kernel_size(&self) -> [usize; 2] {
        self.0.kernel_size
    }

    /// kh·kw.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.0.kernel_size[0] * self.0.kernel_size[1]
    }

    /// Extent of the dilated kernel, (k − 1)·d + 1 per axis.
    #[must_use]
    pub fn reach(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.0.kernel_size[axis] - 1) * self.0.dilation[axis] + 1)
    }

    /// Stride per axis.
    #[must_use]
    pub fn stride(&self) -> [usize; 2] {
        self.0.stride
    }

    /// Dilation per axis.
    #[must_use]
    pub fn dilation(&self) -> [usize; 2] {
        self.0.dilation
    }

    /// Padding.
    #[must_use]
    pub fn padding(&self) -> Padding {
        self.0.padding
    }

    /// Experts, K.
    #[must_use]
    pub fn experts(&self) -> usize {
        self.0.experts
    }

    /// Whether each expert has a bias.
    #[must_use]
    pub fn bias(&self) -> bool {
        self.0.bias
    }

    /// Layout of input, output and residual.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.0.layout
    }

    /// The attention head; `None` for a static layer.
    #[must_use]
    pub fn attention(&self) -> Option<Attention> {
        self.0.attention
    }

    /// Batch norm.
    #[must_use]
    pub fn batch_norm(&self) -> Option<BatchNorm> {
        self.0.batch_norm
    }

    /// Activation.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.0.activation
    }

    /// Elements of one expert, Cout·(Cin/G)·kh·kw.
    #[must_use]
    pub fn expert_len(&self) -> usize {
        self.0.out_channels * self.in_channels_per_group() * self.taps()
    }

    /// Products that one output sums, (Cin/G)·kh·kw.
    #[must_use]
    pub fn reduction_len(&self) -> usize {
        self.in_channels_per_group() * self.taps()
    }

    /// Whether depthwise: every group has one input channel.
    #[must_use]
    pub fn is_depthwise(&self) -> bool {
        self.in_channels_per_group() == 1
    }

    /// Whether pointwise: 1×1, stride 1, no padding, so that the input is used as it lies.
    #[must_use]
    pub fn is_pointwise(&self) -> bool {
        let unpadded = match self.0.padding {
            Padding::Valid | Padding::Same => true,
            padding @ Padding::Explicit { .. } => padding == Padding::symmetric([0, 0]),
        };
        self.taps() == 1 && self.0.stride == [1, 1] && unpadded
    }

    /// Extents for one input size.
    ///
    /// # Errors
    /// Where the padded input is smaller than the dilated kernel.
    pub fn geometry(&self, height: usize, width: usize) -> Result<Geometry> {
        Geometry::new(self, [height, width])
    }

    /// The output's shape for an input's.
    ///
    /// # Errors
    /// Where the input's channels aren't the layer's, the padded input is smaller than the dilated
    /// kernel, or the output doesn't fit the address space.
    pub fn output_shape(&self, input: Shape) -> Result<Shape> {
        if input.channels() != self.in_channels() {
            let expected = format!("{} channels", self.in_channels());
            return Err(Error::invalid("input", input, expected));
        }
        let [height, width] = self.geometry(input.height(), input.width())?.output;
        Shape::new(input.batch(), self.out_channels(), height, width)
    }
}
