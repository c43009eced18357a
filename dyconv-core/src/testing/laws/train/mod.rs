//! The laws of training, of every [`Train`] backend: the same kinds as those of a forward, and the contract of
//! tapes, steps and checkpoints.

mod bounded;
mod calls;
mod compare;
mod exact;
mod ieee;
mod misfit;
mod pool;
mod repeatable;
mod step;

pub use bounded::{
    activation_gradients_are_bounded, attention_gradients_are_bounded, batch_norm_gradients_are_bounded,
    convolution_gradients_are_bounded, layer_gradients_are_bounded, running_statistics_move,
};
pub use calls::{
    backward_plan_fits, empty_batch_has_gradients_of_zero, gradients_are_handles,
    input_gradient_may_be_unwanted, tape_keeps_no_more_than_it_may, trainable_layer_still_infers,
};
pub use exact::{gradients_add_up, integer_gradients_are_exact};
pub use ieee::nan_and_infinity_stay_in_their_samples_gradients;
pub use misfit::{old_and_foreign_tapes_are_refused, training_misfits_are_refused_by_name};
pub use pool::pool_backward_agrees_with_the_host;
pub use repeatable::{
    checkpoints_continue_with_the_same_bits, training_repeatable_across, two_trainings_give_the_same_bits,
};
pub use step::{constraints_are_kept, steps_are_bounded};

use super::Law;
use crate::Train;

/// Every law that [`crate::training_tests!`] tries, by name.
#[must_use]
pub fn all<B: Train>() -> Vec<(&'static str, Law<B>)> {
    crate::__with_training_laws!(__law_table, B)
}
