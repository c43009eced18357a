//! A small network of every kind of block, and data that it can learn.

use dyconv_core::{
    Activation, Attention, BatchNorm, Initializers, Layout, Options, Padding, Rule, Rules, Shape, Squash,
    Tensor,
};
use dyconv_nn::{Architecture, Block, Convolution, Images, Model, Rate, Recipe};

pub(crate) fn dynamic(inputs: usize, outputs: usize) -> Options {
    Options::new(inputs, outputs)
        .kernel_size([3, 3])
        .padding(Padding::Same)
        .experts(3)
        .attention(Attention::mlp(2))
        .batch_norm(BatchNorm { epsilon: 1e-3, keep: 0.9, unbiased: false })
}

/// Stem, max pool, a residual block without and one with a shortcut, mean, head.
pub(crate) fn architecture() -> Architecture {
    let sigmoid = Attention::Linear { squash: Squash::Sigmoid };
    Architecture::new([1, 6, 6])
        .convolution("stem", dynamic(1, 4).activation(Activation::Relu))
        .max_pool([2, 2], [2, 2])
        .residual(
            [
                Block::convolution("a.0", dynamic(4, 4).activation(Activation::Relu)),
                Block::convolution("a.1", dynamic(4, 4).activation(Activation::Relu)),
            ],
            None,
        )
        .residual(
            [
                Block::convolution("b.0", Options::new(4, 6).experts(2).attention(sigmoid).bias(true)),
                Block::convolution("b.1", dynamic(6, 6).groups(6).activation(Activation::HardSwish)),
            ],
            Convolution::new("b.around", Options::new(4, 6)),
        )
        .classifier(6, 3)
}

pub(crate) fn model(seed: u64) -> Model {
    Model::init(architecture(), &Initializers::default(), seed).unwrap()
}

/// Three classes: stripes along rows, along columns, a checkerboard; some noise.
pub(crate) fn data(samples: usize, salt: usize) -> Images {
    let label = |n: usize| n * 7 / 2 % 3;
    let pixels = Tensor::from_fn(Shape::new(samples, 1, 6, 6).unwrap(), Layout::Nchw, |[n, _, y, x]| {
        let on = match label(n) {
            0 => y % 2,
            1 => x % 2,
            _ => (x + y) % 2,
        };
        let noise = (n * 31 + y * 17 + x * 7 + salt * 13) % 11;
        on as f32 - 0.5 + noise as f32 / 40.0
    });
    Images::new(pixels, (0..samples).map(label).collect(), 3).unwrap()
}

/// Something of everything.
pub(crate) fn recipe(epochs: u64) -> Recipe {
    let mut recipe = Recipe {
        rate: Rate::cosine(0.05).warmup(0.5),
        label_smoothing: 0.1,
        seed: 11,
        ..Recipe::new(epochs, 5)
    };
    recipe.layer_rules.insert("head".into(), Rules { experts: Rule::decay(1e-3), ..Rules::default() });
    recipe.activity.insert("a.1".into(), dyconv_core::Regularizer { l1: 1e-4, l2: 1e-4 });
    recipe
}
