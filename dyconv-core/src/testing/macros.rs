//! The one line that gives a backend its tests.

/// Stamps out `mod $name` with one test per law for the backend that `$backend` makes.
///
/// `$backend` is an expression of type `Result<impl Backend, dyconv_core::Error>`; it is evaluated
/// once per module, in the scope where the macro stands. After it may come, in this order:
///
/// - `cases = N`: random problems per law, 256 by default; `DYCONV_CASES` overrides it;
/// - `required = BOOL`: whether a backend that this machine lacks ([`Error::Unavailable`](crate::Error::Unavailable))
///   is a failure; otherwise one line on stderr starts with `SKIPPED` and says why;
/// - `precision = PRECISION`: how experts are stored, [`Precision::F32`](crate::Precision::F32) by default;
/// - `same_bits_as = EXPR`: another backend, say with another number of threads, that must give the
///   same bits.
///
/// ```no_run
/// use dyconv_core::Reference;
///
/// dyconv_core::conformance_tests!(reference, Ok(Reference::default()), cases = 512, required = true);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance_tests {
    (
        $name:ident, $backend:expr
        $(, cases = $cases:expr)?
        $(, required = $required:expr)?
        $(, precision = $precision:expr)?
        $(, same_bits_as = $other:expr)?
        $(,)?
    ) => {
        $crate::__with_laws!(
            __conformance_module, $name, $backend, ($($cases)?), ($($required)?), ($($precision)?), ($($other)?),
            repeatable_across
        );
    };
}

/// As [`conformance_tests!`](crate::conformance_tests), but the laws of training, for a backend that is
/// [`Train`](crate::Train), too: `$backend` is a `Result<impl Train, dyconv_core::Error>`.
///
/// The options are the same, without `precision`, since parameters that learn are f32. The two modules stand side by
/// side:
///
/// ```no_run
/// use dyconv_core::Reference;
///
/// dyconv_core::conformance_tests!(reference, Ok(Reference::default()));
/// dyconv_core::training_tests!(reference_training, Ok(Reference::default()), cases = 64, required = true);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! training_tests {
    (
        $name:ident, $backend:expr
        $(, cases = $cases:expr)?
        $(, required = $required:expr)?
        $(, same_bits_as = $other:expr)?
        $(,)?
    ) => {
        $crate::__with_training_laws!(
            __conformance_module, $name, $backend, ($($cases)?), ($($required)?), (), ($($other)?),
            training_repeatable_across
        );
    };
}

/// The one list of laws: calls another macro with `arguments; law, law, …`.
#[doc(hidden)]
#[macro_export]
macro_rules! __with_laws {
    ($callback:ident, $($arguments:tt)*) => {
        $crate::$callback! {
            $($arguments)*;
            integers_are_exact,
            convolution_is_bounded,
            attention_is_bounded,
            batch_statistics_are_bounded,
            activation_is_bounded,
            layer_is_bounded,
            softmax_survives_extremes,
            two_runs_give_the_same_bits,
            streams_are_independent,
            one_hot_attention_equals_static_convolution,
            attention_is_linear,
            sample_alone_equals_sample_in_batch,
            layouts_agree,
            equal_experts_equal_one,
            misfits_are_refused_by_name,
            nan_and_infinity_stay_in_their_sample,
            empty_batch_gives_empty_output,
            prepared_layer_serves_other_shapes,
            temperature_overrides,
            input_may_be_the_residual,
            equal_bytes_pass_in_either_layout,
            emitted_sums_are_the_pool,
            pool_agrees_with_the_host,
            relayout_agrees_with_the_host,
            plan_fits
        }
    };
}

/// The one list of the laws of training, in the same form.
#[doc(hidden)]
#[macro_export]
macro_rules! __with_training_laws {
    ($callback:ident, $($arguments:tt)*) => {
        $crate::$callback! {
            $($arguments)*;
            integer_gradients_are_exact,
            convolution_gradients_are_bounded,
            attention_gradients_are_bounded,
            batch_norm_gradients_are_bounded,
            running_statistics_move,
            activation_gradients_are_bounded,
            layer_gradients_are_bounded,
            steps_are_bounded,
            constraints_are_kept,
            two_trainings_give_the_same_bits,
            checkpoints_continue_with_the_same_bits,
            gradients_add_up,
            input_gradient_may_be_unwanted,
            gradients_are_handles,
            trainable_layer_still_infers,
            tape_keeps_no_more_than_it_may,
            old_and_foreign_tapes_are_refused,
            training_misfits_are_refused_by_name,
            nan_and_infinity_stay_in_their_samples_gradients,
            empty_batch_has_gradients_of_zero,
            pool_backward_agrees_with_the_host,
            backward_plan_fits
        }
    };
}

/// An expression: every law by name, as functions on one backend type.
#[doc(hidden)]
#[macro_export]
macro_rules! __law_table {
    ($backend:ty; $($law:ident),*) => {
        vec![$((stringify!($law), $crate::testing::laws::$law::<$backend> as $crate::testing::laws::Law<$backend>)),*]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_module {
    (
        $name:ident, $backend:expr, ($($cases:expr)?), ($($required:expr)?), ($($precision:expr)?),
        ($($other:expr)?), $across:ident;
        $($law:ident),*
    ) => {
        mod $name {
            #[allow(
                unused_imports, clippy::wildcard_imports,
                reason = "the backend's expression means what it means where the macro stands"
            )]
            use super::*;

            static SHARED: $crate::testing::Shared = $crate::testing::Shared::new();
            const CASES: u32 = [$($cases,)? 256][0];
            const PRECISION: $crate::Precision = [$($precision,)? $crate::Precision::F32][0];

            fn required() -> bool {
                [$($required,)? false][0]
            }

            $(
                #[test]
                fn $law() {
                    let backend = SHARED.get(module_path!(), required(), || $backend);
                    $crate::testing::check(
                        backend, module_path!(), stringify!($law), (CASES, PRECISION), $crate::testing::laws::$law,
                    );
                }
            )*

            $(
                #[test]
                fn same_bits() {
                    static OTHER: $crate::testing::Shared = $crate::testing::Shared::new();
                    let one = SHARED.get(module_path!(), required(), || $backend);
                    let other = OTHER.get(module_path!(), required(), || $other);
                    $crate::testing::check_pair(
                        one, other, module_path!(), (CASES, PRECISION), $crate::testing::laws::$across,
                    );
                }
            )?
        }
    };
}
