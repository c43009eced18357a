//! Named cases: fixed problems that every backend gets for ever, before the random ones.
//!
//! A random problem that broke a backend, shrunk, becomes one of these.

use super::problem::{Hint, Problem};
use crate::{Activation, Attention, BatchNorm, Options, Padding, Squash};

type Named = (&'static str, fn() -> Problem);

/// Every named case.
#[must_use]
pub fn all() -> Vec<(&'static str, Problem)> {
    let cases: [Named; 17] = [
        ("paper_layer", paper_layer),
        ("keras_layer", keras_layer),
        ("condconv_layer", condconv_layer),
        ("static_stem", static_stem),
        ("pointwise_expand", pointwise_expand),
        ("depthwise_with_multiplier", depthwise_with_multiplier),
        ("odd_width_stride_two", odd_width_stride_two),
        ("same_with_dilation", same_with_dilation),
        ("padding_beyond_the_kernel", padding_beyond_the_kernel),
        ("kernel_beyond_the_input", kernel_beyond_the_input),
        ("stride_beyond_the_kernel", stride_beyond_the_kernel),
        ("full_and_partial_tiles", full_and_partial_tiles),
        ("groups_and_given_attention", groups_and_given_attention),
        ("one_expert_with_a_head", one_expert_with_a_head),
        ("training_with_residual", training_with_residual),
        ("one_pixel", one_pixel),
        ("experts_outweigh_activations", experts_outweigh_activations),
    ];
    cases.into_iter().map(|(name, case)| (name, case())).collect()
}

fn problem(options: Options, extents: [usize; 3]) -> Problem {
    match options.build() {
        Ok(config) => Problem::new(config, extents),
        Err(error) => unreachable!("a named case is impossible: {error}"),
    }
}

fn three_by_three(inputs: usize, outputs: usize) -> Options {
    Options::new(inputs, outputs).kernel_size([3, 3]).padding(Padding::Same)
}

/// K = 4, an MLP that squeezes by 4, T = 30, batch norm, relu.
#[must_use]
pub fn paper_layer() -> Problem {
    let squash = Squash::Softmax { temperature: 30.0 };
    let options = three_by_three(16, 32)
        .experts(4)
        .attention(Attention::Mlp { hidden: 4, squash })
        .batch_norm(BatchNorm::PYTORCH)
        .activation(Activation::Relu);
    problem(options, [2, 7, 9])
}

/// Channels last, hidden units as many as experts, a bias, Keras's batch norm.
#[must_use]
pub fn keras_layer() -> Problem {
    let options = three_by_three(5, 7)
        .layout(crate::Layout::Nhwc)
        .experts(3)
        .bias(true)
        .attention(Attention::mlp(3))
        .batch_norm(BatchNorm::KERAS)
        .activation(Activation::KerasHardSigmoid);
    problem(options, [3, 6, 5])
}

/// A linear head with sigmoid: π doesn't sum to 1.
#[must_use]
pub fn condconv_layer() -> Problem {
    let options = three_by_three(8, 8)
        .stride([2, 2])
        .experts(8)
        .bias(true)
        .attention(Attention::Linear { squash: Squash::Sigmoid })
        .activation(Activation::Silu);
    problem(options, [2, 8, 9])
}

/// Three input channels, stride 2, no attention.
#[must_use]
pub fn static_stem() -> Problem {
    let options =
        three_by_three(3, 32).stride([2, 2]).batch_norm(BatchNorm::PYTORCH).activation(Activation::Relu6);
    problem(options, [1, 11, 17])
}

/// 1×1 with more outputs than a register tile has.
#[must_use]
pub fn pointwise_expand() -> Problem {
    let options = Options::new(17, 49).experts(4).attention(Attention::mlp(4)).activation(Activation::Relu6);
    problem(options, [2, 3, 19])
}

/// Two outputs for every input channel.
#[must_use]
pub fn depthwise_with_multiplier() -> Problem {
    let options = Options::new(9, 18)
        .kernel_size([3, 5])
        .padding(Padding::Same)
        .groups(9)
        .experts(2)
        .bias(true)
        .attention(Attention::Given)
        .activation(Activation::HardSwish);
    problem(options, [2, 6, 15])
}

/// The odd zero of `same` is at the bottom and right, where stride 2 may or may not need it.
#[must_use]
pub fn odd_width_stride_two() -> Problem {
    let options = three_by_three(4, 5).stride([2, 2]).experts(2).attention(Attention::Given);
    problem(options, [2, 7, 10])
}

/// `same` pads for the dilated kernel.
#[must_use]
pub fn same_with_dilation() -> Problem {
    let options = Options::new(3, 4)
        .kernel_size([3, 2])
        .dilation([2, 3])
        .stride([1, 2])
        .padding(Padding::Same)
        .experts(2)
        .attention(Attention::Given);
    problem(options, [1, 8, 9])
}

/// Outputs that see padding alone.
#[must_use]
pub fn padding_beyond_the_kernel() -> Problem {
    let options = Options::new(2, 3)
        .kernel_size([2, 3])
        .padding(Padding::Explicit { top: 4, bottom: 0, left: 1, right: 5 })
        .experts(2)
        .bias(true)
        .attention(Attention::Given);
    problem(options, [2, 3, 4])
}

/// Legal, because of the padding.
#[must_use]
pub fn kernel_beyond_the_input() -> Problem {
    let options = Options::new(3, 5)
        .kernel_size([5, 4])
        .padding(Padding::Explicit { top: 2, bottom: 2, left: 1, right: 2 })
        .experts(2)
        .attention(Attention::Given);
    problem(options, [2, 3, 2])
}

/// Input pixels that nobody reads.
#[must_use]
pub fn stride_beyond_the_kernel() -> Problem {
    let options =
        Options::new(3, 4).kernel_size([2, 1]).stride([3, 4]).experts(2).attention(Attention::Given);
    problem(options, [2, 8, 14])
}

/// One full register tile and a rest, in channels and in columns, of every lane width.
#[must_use]
pub fn full_and_partial_tiles() -> Problem {
    problem(three_by_three(3, 33).experts(2).bias(true).attention(Attention::Given), [1, 2, 29])
}

/// Three groups, signs of attention free, the wrong hint.
#[must_use]
pub fn groups_and_given_attention() -> Problem {
    let options = three_by_three(6, 15).groups(3).experts(3).bias(true).attention(Attention::Given);
    Problem { hint: Hint::Wrong, ..problem(options, [3, 5, 6]) }
}

/// Legal: sigmoid of one logit scales the only kernel.
#[must_use]
pub fn one_expert_with_a_head() -> Problem {
    let options = three_by_three(4, 6).attention(Attention::Mlp { hidden: 2, squash: Squash::Sigmoid });
    problem(options, [2, 4, 5])
}

/// The batch's own statistics, a residual, an activation.
#[must_use]
pub fn training_with_residual() -> Problem {
    let options = three_by_three(6, 9)
        .experts(4)
        .bias(true)
        .attention(Attention::mlp(2))
        .batch_norm(BatchNorm::PYTORCH)
        .activation(Activation::Gelu);
    Problem { residual: true, trainable: true, batch_statistics: true, ..problem(options, [3, 4, 5]) }
}

/// Pooling is the identity, and both layouts are the same bytes.
#[must_use]
pub fn one_pixel() -> Problem {
    problem(three_by_three(8, 17).experts(4).attention(Attention::mlp(2)), [2, 1, 1])
}

/// Several samples, each small beside the experts: a backend may read these once for some samples.
#[must_use]
pub fn experts_outweigh_activations() -> Problem {
    let options = three_by_three(19, 40).experts(3).bias(true).attention(Attention::mlp(5));
    problem(options, [6, 2, 2])
}
