//! The conformance suite on the reference, directly and behind `AnyBackend`.

use dyconv_core::{AnyBackend, Reference, conformance_tests, training_tests};

conformance_tests!(
    reference,
    Ok(Reference::default()),
    same_bits_as = Ok(AnyBackend::new(Reference::default()))
);
conformance_tests!(any_reference, Ok(AnyBackend::new(Reference::default())));

training_tests!(
    reference_training,
    Ok(Reference::default()),
    same_bits_as = Ok(AnyBackend::trainable(Reference::default()))
);
training_tests!(any_reference_training, Ok(AnyBackend::trainable(Reference::default())));
