//! What a layer costs on paper: parameters, multiply-adds and bytes of each stage.

use crate::{Attention, Config, Options, Result, Shape};

/// One stage's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCost {
    /// Numbers that are learned.
    pub parameters: u64,
    /// Multiply-adds; an addition of the pool counts as one.
    pub multiply_adds: u64,
    /// Bytes read and written, each operand once per sample.
    pub bytes: u64,
}

impl StageCost {
    fn plus(self, other: Self) -> Self {
        Self {
            parameters: self.parameters.saturating_add(other.parameters),
            multiply_adds: self.multiply_adds.saturating_add(other.multiply_adds),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What a layer costs for one input shape (section 3.2 of the paper, per stage).
///
/// ```
/// use dyconv_core::{Attention, Cost, Options, Padding, Shape, hidden};
///
/// let config = Options::new(64, 64)
///     .kernel_size([3, 3])
///     .padding(Padding::Same)
///     .experts(4)
///     .attention(Attention::mlp(hidden::paper(64)))
///     .build()?;
/// let cost = Cost::new(&config, Shape::new(1, 64, 56, 56)?)?;
/// assert_eq!(cost.convolve.multiply_adds, 56 * 56 * 64 * 64 * 9);
/// assert_eq!(cost.aggregate.multiply_adds, 4 * 64 * 64 * 9);
/// assert!(cost.ratio_to_static().multiply_adds < 1.01);
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Mean over each input channel.
    pub pool: StageCost,
    /// The head.
    pub attention: StageCost,
    /// Σ π_k·W_k for every sample; holds the experts' parameters.
    pub aggregate: StageCost,
    /// The convolution itself; holds the kernel's parameters where the layer is static, and batch norm's.
    pub convolve: StageCost,
    /// Input, output, parameters and one aggregated kernel per sample, in bytes: what a backend without
    /// tiling keeps at once.
    pub resident_bytes: u64,
    static_form: StageCost,
}

/// Factors of a dynamic layer over the same layer made static.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostRatio {
    /// Of parameters.
    pub parameters: f64,
    /// Of multiply-adds.
    pub multiply_adds: f64,
    /// Of bytes.
    pub bytes: f64,
}

impl Cost {
    /// The cost of one forward.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub fn new(config: &Config, input: Shape) -> Result<Self> {
        let output = config.output_shape(input)?;
        let n = input.batch();
        let is_static = config.attention().is_none();
        let kernel = config.expert_len() + if config.bias() { config.out_channels() } else { 0 };
        let experts = product(&[config.experts(), kernel]);
        let activations = floats(&[input.len()]).saturating_add(floats(&[output.len()]));
        let kernels = floats(&[n, kernel]);
        let norm = if config.batch_norm().is_some() { 2 * config.out_channels() as u64 } else { 0 };

        let (pool, attention) = head_cost(config, input);
        let aggregate = if is_static {
            StageCost::default()
        } else {
            StageCost {
                parameters: experts,
                multiply_adds: product(&[n, config.experts(), kernel]),
                bytes: floats(&[n, config.experts(), kernel]).saturating_add(kernels),
            }
        };
        let convolve = StageCost {
            parameters: norm + if is_static { experts } else { 0 },
            multiply_adds: product(&[output.len(), config.reduction_len()]),
            bytes: activations.saturating_add(kernels),
        };
        let parameters = [pool, attention, aggregate, convolve]
            .iter()
            .fold(0u64, |sum, s| sum.saturating_add(s.parameters));
        Ok(Self {
            pool,
            attention,
            aggregate,
            convolve,
            resident_bytes: activations.saturating_add(kernels).saturating_add(parameters.saturating_mul(4)),
            static_form: StageCost { parameters: norm + kernel as u64, ..convolve },
        })
    }

    /// All stages together.
    #[must_use]
    pub fn total(&self) -> StageCost {
        self.pool.plus(self.attention).plus(self.aggregate).plus(self.convolve)
    }

    /// All stages over the same convolution with one kernel and no attention.
    #[must_use]
    pub fn ratio_to_static(&self) -> CostRatio {
        let ratio = |ours: u64, statics: u64| ours as f64 / statics.max(1) as f64;
        let (total, statics) = (self.total(), self.static_form);
        CostRatio {
            parameters: ratio(total.parameters, statics.parameters),
            multiply_adds: ratio(total.multiply_adds, statics.multiply_adds),
            bytes: ratio(total.bytes, statics.bytes),
        }
    }
}

impl Config {
    /// The same layer with one kernel and no attention.
    #[must_use]
    pub fn static_form(&self) -> Self {
        let options = Options { experts: 1, attention: None, ..self.options() };
        // Fewer experts than a proven configuration has can't be impossible.
        options.build().unwrap_or(*self)
    }
}

/// Pool and head. Head biases count as parameters whether or not a layer has them.
fn head_cost(config: &Config, input: Shape) -> (StageCost, StageCost) {
    let (n, channels, experts) = (input.batch(), config.in_channels(), config.experts());
    let (weights, biases) = match config.attention() {
        None | Some(Attention::Given) => return Default::default(),
        Some(Attention::Linear { .. }) => (product(&[experts, channels]), experts as u64),
        Some(Attention::Mlp { hidden, .. }) => (
            product(&[hidden, channels]).saturating_add(product(&[hidden, experts])),
            (hidden + experts) as u64,
        ),
    };
    let pool = StageCost {
        parameters: 0,
        multiply_adds: product(&[input.len()]),
        bytes: floats(&[input.len()]).saturating_add(floats(&[n, channels])),
    };
    let parameters = weights.saturating_add(biases);
    let attention = StageCost {
        parameters,
        multiply_adds: weights.saturating_mul(n as u64),
        bytes: floats(&[n, channels + experts]).saturating_add(parameters.saturating_mul(4)),
    };
    (pool, attention)
}

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor as u64))
}

fn floats(extents: &[usize]) -> u64 {
    product(extents).saturating_mul(4)
}
