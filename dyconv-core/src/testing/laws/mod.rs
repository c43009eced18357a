//! The laws: generic functions that say whether a backend keeps one for a problem.
//!
//! Every law takes any problem and gives it the form that it speaks of: *exact* forces integer data
//! and given attention, *bounded* laws isolate a stage, and so on. A problem to which a law can't
//! apply keeps it.

mod bounded;
mod calls;
mod exact;
mod ieee;
mod metamorphic;
mod misfit;
mod pool;
mod repeatable;
mod train;

pub use bounded::{
    activation_is_bounded, attention_is_bounded, batch_statistics_are_bounded, convolution_is_bounded,
    layer_is_bounded, softmax_survives_extremes,
};
pub use calls::{
    emitted_sums_are_the_pool, empty_batch_gives_empty_output, equal_bytes_pass_in_either_layout,
    input_may_be_the_residual, plan_fits, prepared_layer_serves_other_shapes, temperature_overrides,
};
pub use exact::integers_are_exact;
pub use ieee::nan_and_infinity_stay_in_their_sample;
pub use metamorphic::{
    attention_is_linear, equal_experts_equal_one, layouts_agree, one_hot_attention_equals_static_convolution,
    sample_alone_equals_sample_in_batch,
};
pub use misfit::misfits_are_refused_by_name;
pub use pool::{pool_agrees_with_the_host, relayout_agrees_with_the_host};
pub use repeatable::{repeatable_across, streams_are_independent, two_runs_give_the_same_bits};
pub use train::{
    activation_gradients_are_bounded, all as all_of_training, attention_gradients_are_bounded,
    backward_plan_fits, batch_norm_gradients_are_bounded, checkpoints_continue_with_the_same_bits,
    constraints_are_kept, convolution_gradients_are_bounded, empty_batch_has_gradients_of_zero,
    gradients_add_up, gradients_are_handles, input_gradient_may_be_unwanted, integer_gradients_are_exact,
    layer_gradients_are_bounded, nan_and_infinity_stay_in_their_samples_gradients,
    old_and_foreign_tapes_are_refused, pool_backward_agrees_with_the_host, running_statistics_move,
    steps_are_bounded, tape_keeps_no_more_than_it_may, trainable_layer_still_infers,
    training_misfits_are_refused_by_name, training_repeatable_across, two_trainings_give_the_same_bits,
};

use crate::testing::{Problem, Verdict};
use crate::{Backend, Layout};

/// Says whether a backend keeps one law for a problem.
pub type Law<B> = fn(&B, &Problem) -> Verdict;

/// Every law that [`crate::conformance_tests!`] tries, by name.
#[must_use]
pub fn all<B: Backend>() -> Vec<(&'static str, Law<B>)> {
    crate::__with_laws!(__law_table, B)
}

fn opposite(layout: Layout) -> Layout {
    match layout {
        Layout::Nchw => Layout::Nhwc,
        Layout::Nhwc => Layout::Nchw,
    }
}
