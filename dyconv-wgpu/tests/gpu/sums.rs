//! Channel sums that layers emit for the next one's pool: from every kernel that finishes outputs, and of finished
//! outputs alone.

use dyconv_core::{
    Activation, Attention, Backend, Call, DyConv2d, Layout, Options, Padding, Pool, Prepare, Reference,
    Shape, Squash, Tensor, reference,
};
use dyconv_wgpu::{Choice, KernelTime, WgpuBackend, WgpuBuilder};

use crate::support::{agrees, close, image, layer, options, with_backend};

/// Layers whose outputs are finished by tiles, by `depthwise`, or by whatever a choice forces.
fn kinds() -> [Options; 5] {
    let activated = |options: Options| options.activation(Activation::HardSwish).bias(true);
    let of_static = |options: Options| Options { experts: 1, attention: None, ..options };
    [
        activated(options(3, 5)),
        of_static(options(3, 5)),
        activated(options(6, 6).groups(6)),
        of_static(options(6, 12).groups(6)).stride([2, 1]),
        activated(options(4, 6).groups(2)),
    ]
}

/// The means that a call attaches to its output are those of the output's elements. Gives input and output.
fn emits_its_outputs_means(backend: &WgpuBackend, layer: &DyConv2d, shape: [usize; 4]) -> [Tensor; 2] {
    let [batch, channels, height, width] = shape;
    let host = image(Shape::new(batch, channels, height, width).unwrap(), layer.config().layout(), 3);
    let prepared = backend.prepare(layer, &Prepare::default()).unwrap();
    let mut stream = backend.stream().unwrap();
    let x = backend.upload(&mut stream, host.view()).unwrap();
    let y = backend.forward(&mut stream, &prepared, &Call::new(&x).emit_sums(true)).unwrap().output;
    let means = backend.pool(&mut stream, &y, &Pool::GlobalMean).unwrap();
    let means = backend.download(&mut stream, &means).unwrap();
    let output = backend.download(&mut stream, &y).unwrap();
    close(&means, &reference::pool(output.view(), &Pool::GlobalMean).unwrap());
    [host, output]
}

#[test]
fn every_kernel_that_finishes_outputs_emits_their_means() {
    use Choice::{NarrowPanel, NarrowQuad, Sliced, Small, WinogradF2, WinogradF4};
    let forced = [Small, NarrowQuad, NarrowPanel, Sliced, WinogradF2, WinogradF4];
    let choices = std::iter::once(None).chain(forced.map(Some));
    for (choice, subgroups) in choices.flat_map(|choice| [(choice, true), (choice, false)]) {
        let forced = |builder: WgpuBuilder| {
            let builder = builder.subgroups(subgroups);
            choice.map_or(builder.clone(), |choice| builder.force(choice))
        };
        with_backend(forced, |backend| {
            for (i, kind) in kinds().into_iter().enumerate() {
                for layout in [Layout::Nchw, Layout::Nhwc] {
                    let layer = layer(kind.layout(layout));
                    // One part of each channel; and several, the last one shorter.
                    for [height, width] in [[7, 5], [71, 67]] {
                        println!("{choice:?}, subgroups {subgroups}, kind {i}, {layout:?}, {height}×{width}");
                        emits_its_outputs_means(&backend, &layer, [3, kind.in_channels, height, width]);
                    }
                }
            }
        });
    }
}

/// What all threads of a workgroup add and compare, by subgroups or not: pools of many pixels, dot products of one
/// row, softmax of many logits.
#[test]
fn whole_workgroups_add_and_compare() {
    let mlp =
        |experts, hidden| Options { experts, attention: Some(Attention::mlp(hidden)), ..options(300, 2) };
    let heads = [mlp(3, 1), mlp(1, 5), mlp(70, 2), mlp(200, 1)];
    for subgroups in [true, false] {
        with_backend(
            |builder| builder.subgroups(subgroups),
            |backend| {
                for head in heads {
                    let input = image(Shape::new(2, 300, 2, 3).unwrap(), Layout::Nchw, 5);
                    let layer = layer(head.kernel_size([1, 1]));
                    agrees(&backend, &layer, &input);
                    assert_eq!(backend.run(&layer, &input), backend.run(&layer, &input), "the same bits");
                }
                for extents in [[23, 23], [31, 33], [90, 70]] {
                    let host = image(Shape::new(2, 3, extents[0], extents[1]).unwrap(), Layout::Nchw, 2);
                    let mut stream = backend.stream().unwrap();
                    let x = backend.upload(&mut stream, host.view()).unwrap();
                    let means = backend.pool(&mut stream, &x, &Pool::GlobalMean).unwrap();
                    let want = reference::pool(host.view(), &Pool::GlobalMean).unwrap();
                    close(&backend.download(&mut stream, &means).unwrap(), &want);
                }
            },
        );
    }
}

/// A softmax subtracts the largest of all logits: one that is smaller by more than 88·T would be infinite after exp.
#[test]
fn softmax_subtracts_the_largest_logit_of_all() {
    let squash = Squash::Softmax { temperature: 1e-5 };
    let attention = Some(Attention::Mlp { hidden: 2, squash });
    let sharp = layer(Options { experts: 200, attention, ..options(3, 1) }.kernel_size([1, 1]));
    for subgroups in [true, false] {
        with_backend(
            |builder| builder.subgroups(subgroups),
            |backend| {
                let input = image(Shape::new(16, 3, 2, 2).unwrap(), Layout::Nchw, 9);
                let prepared = backend.prepare(&sharp, &Prepare::default()).unwrap();
                let mut stream = backend.stream().unwrap();
                let x = backend.upload(&mut stream, input.view()).unwrap();
                let call = Call::new(&x).return_attention(true);
                let pi = backend.forward(&mut stream, &prepared, &call).unwrap().attention.unwrap();
                for row in backend.download(&mut stream, &pi).unwrap().data().chunks_exact(200) {
                    let sum: f32 = row.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-5, "subgroups {subgroups}: {sum}");
                }
            },
        );
    }
}

/// Parts of a batch have their means where the batch has them.
#[test]
fn parts_of_a_batch_emit_their_own_means() {
    with_backend(
        |builder| builder.max_part_samples(2).max_workgroups(50),
        |backend| {
            for kind in kinds() {
                emits_its_outputs_means(&backend, &layer(kind), [5, kind.in_channels, 9, 9]);
            }
        },
    );
}

/// Sums that take several dispatches, in one slice or several, are emitted when they are finished, and not before.
#[test]
fn a_continued_sum_is_emitted_once_it_is_finished() {
    // 90 300 products, 50 001, and in three slices more than they take at once.
    let kinds = [
        options(2, 2).groups(2).kernel_size([300, 301]),
        options(2, 2).groups(2).kernel_size([50_001, 1]),
        options(2, 2).kernel_size([50_001, 1]),
        options(6, 4).groups(2).kernel_size([33_001, 1]),
    ];
    let shapes = [[2, 2, 301, 303], [2, 2, 50_003, 2], [2, 2, 50_003, 2], [2, 6, 33_003, 2]];
    for choice in [Choice::Small, Choice::Sliced, Choice::NarrowQuad] {
        with_backend(
            |builder| builder.force(choice),
            |backend| {
                for (kind, shape) in kinds.into_iter().zip(shapes) {
                    println!("{choice:?}, {:?}, groups {}", kind.kernel_size, kind.groups);
                    let layer = layer(kind.padding(Padding::Valid).activation(Activation::Elu));
                    let [input, output] = emits_its_outputs_means(&backend, &layer, shape);
                    close(&output, &Reference::default().run(&layer, &input).unwrap());
                }
            },
        );
    }
}

/// In a chain, pools read what the producer summed, and never its pixels.
#[test]
fn a_chain_has_no_pool_over_pixels() {
    let kinds = [
        (None, options(32, 32)),
        (None, options(32, 32).groups(32)),
        (Some(Choice::Small), options(32, 32)),
        (Some(Choice::NarrowPanel), options(32, 32)),
        // Sums of several dispatches.
        (Some(Choice::Small), options(32, 32).kernel_size([33, 32])),
        (None, options(32, 32).groups(32).kernel_size([182, 181])),
        (Some(Choice::Sliced), options(32, 32)),
        (Some(Choice::WinogradF2), options(32, 32)),
        (Some(Choice::WinogradF4), Options { experts: 1, attention: None, ..options(32, 32) }),
    ];
    for (choice, kind) in kinds {
        let builder = |builder: WgpuBuilder| {
            let builder = builder.timestamps(true);
            choice.map_or(builder.clone(), |choice| builder.force(choice))
        };
        with_backend(builder, |backend| {
            let shape = Shape::new(2, 32, 28, 28).unwrap();
            let [first, second] = [kind, options(32, 8)]
                .map(|options| backend.prepare(&layer(options), &Prepare::default()).unwrap());
            let mut stream = backend.stream().unwrap();
            let x = backend.upload(&mut stream, image(shape, Layout::Nchw, 1).view()).unwrap();
            let y = backend.forward(&mut stream, &first, &Call::new(&x).emit_sums(true)).unwrap().output;
            let times = backend.finish_timed(&mut stream).unwrap();
            let pools = |times: &[KernelTime]| -> Vec<u64> {
                times.iter().filter(|time| time.stage == "pool").map(|time| time.bytes).collect()
            };
            // The first layer pools its input, if it has a head, and what it emits.
            let pixels = 4 * shape.len() as u64;
            let over_pixels = pools(&times).into_iter().filter(|&bytes| bytes >= pixels / 4).count();
            let has_head = usize::from(kind.attention.is_some());
            assert_eq!(over_pixels, has_head, "{choice:?}: {times:?}");
            drop(backend.forward(&mut stream, &second, &Call::new(&y)).unwrap());
            let times = backend.finish_timed(&mut stream).unwrap();
            assert!(pools(&times).is_empty(), "{choice:?}: {times:?}");
        });
    }
}
