//! The network that reads digits, and how it learns.

use dyconv_core::{
    Activation, Attention, BatchNorm, Distribution, Error, Fan, Initializer, Initializers, Options, Padding,
    Result, Rule,
};
use dyconv_nn::{Architecture, Block, Dataset, Model, Rate, Recipe, Temperature, Unit};

use crate::digits::{CLASSES, Digits, EXTENT};

/// A training, as asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// Experts of each dynamic layer; 1: static convolutions.
    pub experts: usize,
    /// Channels after the stem; the last layers have twice as many.
    pub width: usize,
    /// How often every image is seen.
    pub epochs: u64,
    /// Images of a step.
    pub batch: usize,
    /// The learning rate's peak.
    pub rate: f64,
    /// How many times that rate the attention heads have: below 1, so that experts become different before it is decided
    /// which of them are used.
    pub head_rate: f64,
    /// The temperature of the attention's softmax.
    pub temperature: Temperature,
    /// Where starting values and the order of images come from.
    pub seed: u64,
}

/// Hidden units of a head: the paper's quarter of so few channels would be 1 or 2, and a unit that dies is a large part.
const HIDDEN: usize = 16;
/// Where heads start: twice as far out as usual, since the means that they see differ little from image to image.
const HEAD: Initializer =
    Initializer::VarianceScaling { scale: 4.0, fan: Fan::In, distribution: Distribution::TruncatedNormal };

/// Most experts, channels and images of a step: so much memory that nobody means it.
const MOST: usize = 1024;

impl Setup {
    /// A network: a static stem; a residual block of two dynamic 3×3 layers at 8×8; a maximum down to 4×4; a dynamic
    /// depthwise 3×3 and a dynamic 1×1 layer that doubles the channels; mean and linear head. As in the paper's
    /// networks the first layer and the head are static, every other convolution is dynamic.
    pub fn architecture(&self) -> Architecture {
        let (width, wide) = (self.width, 2 * self.width);
        let square = |options: Options| options.kernel_size([3, 3]).padding(Padding::Same);
        let layer = |inputs, outputs| {
            Options::new(inputs, outputs).batch_norm(BatchNorm::PYTORCH).activation(Activation::Relu)
        };
        let dynamic = |options: Options| match self.experts {
            1 => options,
            experts => options.experts(experts).attention(Attention::mlp(HIDDEN)),
        };
        let block = |name, options| Block::convolution(name, dynamic(options));
        Architecture::new([1, EXTENT, EXTENT])
            .convolution("stem", square(layer(1, width)))
            .residual(
                [
                    block("residual.0", square(layer(width, width))),
                    block("residual.1", square(layer(width, width))),
                ],
                None,
            )
            .max_pool([2, 2], [2, 2])
            .block(block("depthwise", square(layer(width, width).groups(width))))
            .block(block("pointwise", layer(width, wide)))
            .classifier(wide, CLASSES)
    }

    /// The network at its starting values.
    ///
    /// # Errors
    /// Where a number can't be used, by its name.
    pub fn model(&self) -> Result<Model> {
        for (name, value) in [("experts", self.experts), ("width", self.width), ("batch", self.batch)] {
            if value == 0 || value > MOST {
                return Err(Error::invalid(name, value, format!("1 to {MOST}")));
            }
        }
        if !(self.head_rate >= 0.0 && (self.head_rate as f32).is_finite()) {
            return Err(Error::invalid("head_rate", self.head_rate, "a finite number, at least 0"));
        }
        let initializers =
            Initializers { weight: Initializer::HE_NORMAL, head_weight: HEAD, ..Initializers::default() };
        Model::init(self.architecture(), &initializers, self.seed)
    }

    /// Steps of the whole training.
    #[must_use]
    pub fn steps(&self, digits: &Digits) -> u64 {
        (digits.training.len().div_ceil(self.batch.max(1)) as u64).saturating_mul(self.epochs)
    }

    /// SGD with momentum; the rate rises through the first epoch and falls along a cosine.
    pub fn recipe(&self) -> Recipe {
        let mut recipe = Recipe {
            seed: self.seed,
            rate: Rate::cosine(self.rate).warmup(1.0),
            temperature: self.temperature,
            ..Recipe::new(self.epochs, self.batch)
        };
        let rules = &mut recipe.rules;
        rules.head = Rule { rate: self.head_rate, ..Rule::default() };
        rules.head_bias = rules.head.clone();
        recipe
    }
}

/// `from` → `to` over the first epochs, with every epoch, as the paper has it.
#[must_use]
pub fn annealed(from: f64, to: f64, epochs: u64) -> Temperature {
    Temperature::Linear { from, to, epochs, every: Unit::Epoch }
}
