//! Whatever happens to a valid file, reading it ends in a case or an error.

use dyconv_core::case::Case;
use dyconv_core::{Activation, Attention, BatchNorm, Layout, Options, Padding, Squash};
use proptest::prelude::*;

use crate::sample::{Parts, case_of, with_header};

fn attention() -> impl Strategy<Value = Option<Attention>> {
    let temperature = prop_oneof![Just(1.0), Just(30.0), 1e-3..1e3f64];
    let squash = prop_oneof![
        temperature.prop_map(|temperature| Squash::Softmax { temperature }),
        Just(Squash::Sigmoid),
    ];
    prop_oneof![
        Just(None),
        Just(Some(Attention::Given)),
        squash.clone().prop_map(|squash| Some(Attention::Linear { squash })),
        (1..4usize, squash).prop_map(|(hidden, squash)| Some(Attention::Mlp { hidden, squash })),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let padding = prop_oneof![
        Just(Padding::Same),
        Just(Padding::Valid),
        [0..3usize, 0..3usize, 0..3usize, 0..3usize]
            .prop_map(|[top, bottom, left, right]| { Padding::Explicit { top, bottom, left, right } }),
    ];
    let activations: Vec<_> =
        Activation::ALL.into_iter().filter(|a| *a != Activation::KerasHardSigmoid).collect();
    let norm = prop::option::of((1e-6..1e-2f64, 0.0..=1.0f64))
        .prop_map(|norm| norm.map(|(epsilon, keep)| BatchNorm { epsilon, keep, unbiased: false }));
    let channels = (1..3usize, 1..3usize, 1..3usize, 1..4usize);
    let switches = (any::<bool>(), any::<bool>(), prop::sample::select(activations));
    let extents = ([1..3usize, 1..3usize], [1..3usize, 1..3usize]);
    (channels, attention(), padding, norm, switches, extents).prop_map(
        |(
            (groups, inputs, outputs, experts),
            attention,
            padding,
            norm,
            (bias, nhwc, activation),
            (kernel, stride),
        )| {
            Options::new(inputs * groups, outputs * groups)
                .groups(groups)
                .experts(if attention.is_none() { 1 } else { experts })
                .attention(attention)
                .kernel_size(kernel)
                .stride(stride)
                .padding(padding)
                .bias(bias)
                .layout(if nhwc { Layout::Nhwc } else { Layout::Nchw })
                .batch_norm(norm)
                .activation(activation)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(options in options(), batch in 1..3usize) {
        let case = case_of(options, batch);
        let bytes = case.to_bytes().unwrap();
        let back = Case::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&back, &case);
        prop_assert_eq!(back.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = Parts::sample().bytes();
        for (index, value) in flips {
            let i = index.index(bytes.len());
            bytes[i] ^= value;
        }
        if let Ok(case) = Case::from_bytes(&bytes) {
            prop_assert_eq!(Case::from_bytes(&case.to_bytes().unwrap()).unwrap().to_bytes(), case.to_bytes());
        }
    }

    #[test]
    fn every_truncation_is_refused(cut in any::<prop::sample::Index>()) {
        let bytes = Parts::sample().bytes();
        prop_assert!(Case::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn pieces_of_the_header_moved_about_never_panic(
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        len in 1..40usize,
        pad in any::<bool>(),
    ) {
        let parts = Parts::sample();
        let header = parts.header();
        let from = from.index(header.len());
        let piece = header.get(from..(from + len).min(header.len())).unwrap_or_default();
        let to = to.index(header.len());
        let moved = match pad {
            true => format!("{}{piece}{}", &header[..to], &header[to..]),
            false => format!("{}{piece}{}", &header[..to], header.get(to + piece.len()..).unwrap_or_default()),
        };
        let _ = Case::from_bytes(&with_header(&moved, &parts.data));
    }

    #[test]
    fn numbers_in_the_header_replaced_never_panic(
        which in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("-1"), Just("0"), Just("1e999"), Just("18446744073709551615"), Just("9223372036854775807"),
            Just("4294967296"), Just("null"), Just("1.5"), Just("[]"), Just("\"\""), Just("3"),
        ],
    ) {
        let parts = Parts::sample();
        let header = parts.header();
        let digits: Vec<usize> = header.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(i, _)| i).collect();
        let at = digits[which.index(digits.len())];
        let changed = format!("{}{value}{}", &header[..at], &header[at + 1..]);
        let _ = Case::from_bytes(&with_header(&changed, &parts.data));
    }
}
