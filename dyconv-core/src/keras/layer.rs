//! The layer's arguments, and what they mean here.

use serde::{Deserialize, Serialize};

use crate::{
    Activation, Attention, BatchNorm, Config, Constraint, Error, Initializer, Initializers, Layout, Options,
    Padding, Regularizer, Result, hidden,
};

/// Height and width; one number stands for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "PairJson", into = "[usize; 2]")]
pub struct Pair(pub [usize; 2]);

#[derive(Deserialize)]
#[serde(untagged, expecting = "an integer ≥ 0 or a pair of them")]
enum PairJson {
    One(usize),
    Two([usize; 2]),
}

impl From<PairJson> for Pair {
    fn from(json: PairJson) -> Self {
        match json {
            PairJson::One(both) => both.into(),
            PairJson::Two(pair) => pair.into(),
        }
    }
}

impl From<Pair> for [usize; 2] {
    fn from(pair: Pair) -> Self {
        pair.0
    }
}

impl From<usize> for Pair {
    fn from(both: usize) -> Self {
        Self([both, both])
    }
}

impl From<[usize; 2]> for Pair {
    fn from(pair: [usize; 2]) -> Self {
        Self(pair)
    }
}

/// An initialiser as Keras writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KerasInitializer {
    /// The distribution.
    pub initializer: Initializer,
    /// Keras's seed for it: kept for Keras, not used here.
    pub seed: Option<i64>,
}

impl From<Initializer> for KerasInitializer {
    fn from(initializer: Initializer) -> Self {
        Self { initializer, seed: None }
    }
}

/// The layer's arguments under Keras's names, with Keras's defaults. Public fields, no promises;
/// [`DyConv2D::build`] proves them.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct DyConv2D {
    /// The layer's name.
    pub name: String,
    /// Whether training changes it.
    pub trainable: bool,
    /// Output channels.
    pub filters: usize,
    /// Taps.
    pub kernel_size: Pair,
    /// Experts; also the head's hidden units.
    pub num_experts: usize,
    /// Distance between neighbouring outputs.
    pub strides: Pair,
    /// `valid` or `same`.
    pub padding: Padding,
    /// `channels_last` or `channels_first`.
    pub data_format: Layout,
    /// Distance between neighbouring taps.
    pub dilation_rate: Pair,
    /// Activation.
    pub activation: Activation,
    /// Whether each expert has a bias.
    pub use_bias: bool,
    /// Where experts start.
    pub kernel_initializer: KerasInitializer,
    /// Where expert biases start.
    pub bias_initializer: KerasInitializer,
    /// Penalty on experts.
    pub kernel_regularizer: Option<Regularizer>,
    /// Penalty on expert biases.
    pub bias_regularizer: Option<Regularizer>,
    /// Penalty on the output.
    pub activity_regularizer: Option<Regularizer>,
    /// Where experts are brought back to.
    pub kernel_constraint: Option<Constraint>,
    /// Where expert biases are brought back to.
    pub bias_constraint: Option<Constraint>,
    /// Batch norm's axis, where it is said; it must be the one that `data_format` makes the channels'.
    pub axis: Option<i64>,
}

impl DyConv2D {
    /// `DyConv2D(filters, kernel_size, num_experts)`: strides and dilation 1, `valid`, `channels_last`, linear,
    /// with a bias, Glorot uniform kernels, zero biases, no regularisers or constraints.
    pub fn new(filters: usize, kernel_size: impl Into<Pair>, num_experts: usize) -> Self {
        Self {
            name: "dy_conv2d".to_owned(),
            trainable: true,
            filters,
            kernel_size: kernel_size.into(),
            num_experts,
            strides: Pair([1, 1]),
            padding: Padding::Valid,
            data_format: Layout::Nhwc,
            dilation_rate: Pair([1, 1]),
            activation: Activation::None,
            use_bias: true,
            kernel_initializer: Initializer::GLOROT_UNIFORM.into(),
            bias_initializer: Initializer::Zeros.into(),
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
            axis: None,
        }
    }

    /// Sets the strides.
    pub fn strides(mut self, strides: impl Into<Pair>) -> Self {
        self.strides = strides.into();
        self
    }

    /// Sets the padding, `valid` or `same`.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the data format: `channels_first` is [`Layout::Nchw`], `channels_last` [`Layout::Nhwc`].
    pub fn data_format(mut self, data_format: Layout) -> Self {
        self.data_format = data_format;
        self
    }

    /// Sets the dilation rate.
    pub fn dilation_rate(mut self, dilation_rate: impl Into<Pair>) -> Self {
        self.dilation_rate = dilation_rate.into();
        self
    }

    /// Sets the activation.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Sets whether each expert has a bias.
    pub fn use_bias(mut self, use_bias: bool) -> Self {
        self.use_bias = use_bias;
        self
    }

    /// Sets where experts start.
    pub fn kernel_initializer(mut self, initializer: impl Into<KerasInitializer>) -> Self {
        self.kernel_initializer = initializer.into();
        self
    }

    /// Sets where expert biases start.
    pub fn bias_initializer(mut self, initializer: impl Into<KerasInitializer>) -> Self {
        self.bias_initializer = initializer.into();
        self
    }

    /// Sets the penalty on experts.
    pub fn kernel_regularizer(mut self, regularizer: impl Into<Option<Regularizer>>) -> Self {
        self.kernel_regularizer = regularizer.into();
        self
    }

    /// Sets the penalty on expert biases.
    pub fn bias_regularizer(mut self, regularizer: impl Into<Option<Regularizer>>) -> Self {
        self.bias_regularizer = regularizer.into();
        self
    }

    /// Sets the penalty on the output.
    pub fn activity_regularizer(mut self, regularizer: impl Into<Option<Regularizer>>) -> Self {
        self.activity_regularizer = regularizer.into();
        self
    }

    /// Sets where experts are brought back to.
    pub fn kernel_constraint(mut self, constraint: impl Into<Option<Constraint>>) -> Self {
        self.kernel_constraint = constraint.into();
        self
    }

    /// Sets where expert biases are brought back to.
    pub fn bias_constraint(mut self, constraint: impl Into<Option<Constraint>>) -> Self {
        self.bias_constraint = constraint.into();
        self
    }

    /// Sets batch norm's axis.
    pub fn axis(mut self, axis: i64) -> Self {
        self.axis = Some(axis);
        self
    }

    /// The layer for an input of `in_channels`.
    ///
    /// # Errors
    /// The first impossible argument, by Keras's name where it has one of its own.
    pub fn build(&self, in_channels: usize) -> Result<Config> {
        self.check()?;
        self.options(in_channels).build()
    }

    /// What [`DyConv2D::build`] proves: options to change first, where the layer is to differ from Keras's, as in
    /// its temperature.
    pub fn options(&self, in_channels: usize) -> Options {
        Options::new(in_channels, self.filters)
            .kernel_size(self.kernel_size.0)
            .stride(self.strides.0)
            .dilation(self.dilation_rate.0)
            .padding(self.padding)
            .experts(self.num_experts)
            .bias(self.use_bias)
            .layout(self.data_format)
            .attention(Attention::mlp(hidden::keras(self.num_experts)))
            .batch_norm(BatchNorm::KERAS)
            .activation(self.activation)
    }

    /// Where parameters start: experts and biases as said, the head as Keras's dense layers do.
    #[must_use]
    pub fn initializers(&self) -> Initializers {
        Initializers {
            weight: self.kernel_initializer.initializer,
            bias: self.bias_initializer.initializer,
            ..Initializers::default()
        }
    }

    /// The arguments that give this configuration.
    ///
    /// # Errors
    /// Where the Keras layer has no argument for something: groups, explicit padding, another head,
    /// temperature or batch norm, an activation that Keras 2 doesn't have.
    pub fn from_config(config: &Config) -> Result<Self> {
        let options = config.options();
        let layer = Self {
            data_format: options.layout,
            activation: options.activation,
            use_bias: options.bias,
            ..Self::new(options.out_channels, options.kernel_size, options.experts)
                .strides(options.stride)
                .dilation_rate(options.dilation)
                .padding(options.padding)
        };
        layer.check()?;
        super::activation::write(layer.activation)?;
        let keras = layer.options(options.in_channels);
        if options.groups != 1 {
            return Err(Error::invalid("groups", options.groups, "1, as in the Keras layer"));
        }
        check_equal("attention", &options.attention, &keras.attention)?;
        check_equal("batch_norm", &options.batch_norm, &keras.batch_norm)?;
        Ok(layer)
    }

    /// The channels' axis, as Keras writes it by itself.
    pub(super) fn channel_axis(&self) -> i64 {
        match self.data_format {
            Layout::Nchw => 1,
            Layout::Nhwc => -1,
        }
    }

    /// What [`Options`] doesn't know of.
    pub(super) fn check(&self) -> Result<()> {
        if let Padding::Explicit { .. } = self.padding {
            return Err(Error::invalid("padding", "explicit", "valid or same, as in the Keras layer"));
        }
        let own = self.channel_axis();
        if let Some(axis) = self.axis
            && axis.rem_euclid(4) != own.rem_euclid(4)
        {
            let expected = format!("{own}, the channels of data_format {}", data_format(self.data_format));
            return Err(Error::invalid("axis", axis, expected));
        }
        self.kernel_initializer.initializer.check("kernel_initializer")?;
        self.bias_initializer.initializer.check("bias_initializer")?;
        for (name, regularizer) in [
            ("kernel_regularizer", self.kernel_regularizer),
            ("bias_regularizer", self.bias_regularizer),
            ("activity_regularizer", self.activity_regularizer),
        ] {
            regularizer.map_or(Ok(()), |regularizer| regularizer.check(name))?;
        }
        for (name, constraint) in
            [("kernel_constraint", &self.kernel_constraint), ("bias_constraint", &self.bias_constraint)]
        {
            constraint.as_ref().map_or(Ok(()), |constraint| constraint.check(name))?;
        }
        Ok(())
    }
}

/// Refuses, in JSON's words, what isn't as in the Keras layer.
fn check_equal<T: PartialEq + Serialize>(parameter: &str, ours: &T, keras: &T) -> Result<()> {
    if ours == keras {
        return Ok(());
    }
    let json = |value| serde_json::to_string(value).unwrap_or_default();
    Err(Error::invalid(parameter, json(ours), format!("{}, as in the Keras layer", json(keras))))
}

/// Keras's name of a layout.
pub(super) fn data_format(layout: Layout) -> &'static str {
    match layout {
        Layout::Nchw => "channels_first",
        Layout::Nhwc => "channels_last",
    }
}
