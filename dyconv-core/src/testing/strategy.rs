//! Random problems, with the edges over-weighted and every case small: microseconds on the reference.

use proptest::prelude::{Just, Strategy, any};
use proptest::sample::select;
use proptest::{bool, option, prop_oneof};

use super::problem::{Data, Hint, Problem};
use crate::{Activation, Attention, BatchNorm, Config, Layout, Options, Padding, Precision, Result, Squash};

/// Most multiply-adds of a problem's convolution.
const MOST_MULTIPLY_ADDS: usize = 20_000;

/// One below, at and above the vector widths 4, 8, 16 and 32, and one full register tile plus a partial one.
const EDGES: [usize; 14] = [3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 49, 65];

/// Any problem.
///
/// Often: one group, depthwise with and without multiplier, one expert, a kernel as large as the
/// input or larger, strides beyond the kernel, different numbers on both axes, even kernels, `same`
/// with dilations and strides that don't divide, padding beyond the kernel, channels at the edges
/// of vectors, rows of more than one register tile, one pixel, an empty batch.
pub fn problems() -> impl Strategy<Value = Problem> {
    (extents(), channels(), axes(), padding(), attention(), tail(), call()).prop_map(
        |(extents, channels, axes, padding, attention, tail, call)| {
            assemble(extents, channels, axes, padding, attention, tail, call)
        },
    )
}

type Extents = [usize; 3];

fn extents() -> impl Strategy<Value = Extents> {
    let batch = prop_oneof![8 => Just(1usize), 6 => Just(2), 5 => Just(3), 2 => Just(5), 1 => Just(0)];
    let height = prop_oneof![3 => Just(1usize), 6 => 2usize..8, 1 => 8usize..15];
    let width = prop_oneof![2 => Just(1usize), 5 => 2usize..10, 5 => 13usize..32];
    (batch, height, width).prop_map(|(batch, height, width)| [batch, height, width])
}

/// (groups, input channels per group, output channels per group)
fn channels() -> impl Strategy<Value = [usize; 3]> {
    let few = || prop_oneof![1usize..7, select(EDGES.to_vec())];
    prop_oneof![
        10 => (few(), few()).prop_map(|(inputs, outputs)| [1, inputs, outputs]),
        6 => (1usize..5, select(vec![33usize, 49, 65])).prop_map(|(inputs, outputs)| [1, inputs, outputs]),
        4 => (2usize..5, 1usize..6, prop_oneof![1usize..6, select(vec![8, 9, 16, 17])])
            .prop_map(|(groups, inputs, outputs)| [groups, inputs, outputs]),
        // Of a size that vectors of lanes share.
        2 => (2usize..8, 1usize..5, select(vec![2usize, 4, 8]))
            .prop_map(|(groups, inputs, outputs)| [groups, inputs, outputs]),
        6 => (few(), prop_oneof![3 => Just(1usize), 2 => 2usize..4])
            .prop_map(|(channels, multiplier)| [channels, 1, multiplier]),
    ]
}

/// A kernel's extent along one axis, perhaps by what it will meet.
#[derive(Clone, Copy, Debug)]
enum Taps {
    Fixed(usize),
    Input,
    BeyondInput(usize),
}

/// (taps, stride, dilation)
type Axis = (Taps, usize, usize);

/// Often a plain 3×3 or 1×1, which have plans of their own.
fn axes() -> impl Strategy<Value = [Axis; 2]> {
    prop_oneof![
        2 => Just([(Taps::Fixed(1), 1, 1); 2]),
        3 => Just([(Taps::Fixed(3), 1, 1); 2]),
        2 => axis().prop_map(|axis| [axis; 2]),
        6 => [axis(), axis()],
    ]
}

fn axis() -> impl Strategy<Value = Axis> {
    let taps = prop_oneof![
        4 => Just(Taps::Fixed(1)),
        6 => Just(Taps::Fixed(3)),
        2 => Just(Taps::Fixed(2)),
        2 => select(vec![Taps::Fixed(4), Taps::Fixed(5), Taps::Fixed(7)]),
        1 => Just(Taps::Input),
        1 => (1usize..3).prop_map(Taps::BeyondInput),
    ];
    let stride = prop_oneof![5 => Just(1usize), 3 => Just(2), 1 => Just(3), 1 => Just(5)];
    let dilation = prop_oneof![6 => Just(1usize), 2 => Just(2), 1 => Just(3)];
    (taps, stride, dilation)
}

fn padding() -> impl Strategy<Value = Padding> {
    let side = || prop_oneof![2 => Just(0usize), 3 => 1usize..3, 1 => 3usize..9];
    prop_oneof![
        3 => Just(Padding::Valid),
        4 => Just(Padding::Same),
        2 => Just(Padding::symmetric([1, 1])),
        3 => [side(), side(), side(), side()]
            .prop_map(|[top, bottom, left, right]| Padding::Explicit { top, bottom, left, right }),
    ]
}

/// (experts, attention)
fn attention() -> impl Strategy<Value = (usize, Option<Attention>)> {
    let experts = || prop_oneof![2 => Just(1usize), 2 => Just(2), 1 => Just(3), 4 => Just(4), 1 => Just(5), 1 => Just(8)];
    let squash = || {
        prop_oneof![
            2 => Just(Squash::SOFTMAX),
            2 => select(vec![30.0, 0.3, 4.5]).prop_map(|temperature| Squash::Softmax { temperature }),
            2 => Just(Squash::Sigmoid),
        ]
    };
    let hidden = select(vec![1usize, 2, 3, 4, 5, 8, 9, 17]);
    prop_oneof![
        2 => Just((1usize, None)),
        5 => (experts(), hidden, squash())
            .prop_map(|(experts, hidden, squash)| (experts, Some(Attention::Mlp { hidden, squash }))),
        3 => (experts(), squash())
            .prop_map(|(experts, squash)| (experts, Some(Attention::Linear { squash }))),
        3 => experts().prop_map(|experts| (experts, Some(Attention::Given))),
    ]
}

/// (bias, layout, batch norm, activation)
type Tail = (bool, Layout, Option<BatchNorm>, Activation);

fn tail() -> impl Strategy<Value = Tail> {
    let norm = (select(vec![1e-5, 1e-3, 0.1]), select(vec![0.9, 0.99]), bool::ANY)
        .prop_map(|(epsilon, keep, unbiased)| BatchNorm { epsilon, keep, unbiased });
    (bool::ANY, select(Layout::ALL.to_vec()), option::weighted(0.4, norm), select(Activation::ALL.to_vec()))
}

#[derive(Clone, Copy, Debug)]
struct CallOptions {
    seed: u64,
    flags: [bool; 4],
    head_biases: [bool; 2],
    temperature: Option<f64>,
    hint: Hint,
}

fn call() -> impl Strategy<Value = CallOptions> {
    let flags = [bool::weighted(0.2), bool::weighted(0.4), bool::weighted(0.3), bool::weighted(0.3)];
    (
        any::<u32>().no_shrink(),
        flags,
        [bool::ANY, bool::ANY],
        option::weighted(0.25, select(vec![1.0, 30.0, 0.3])),
        select(vec![Hint::Right, Hint::Absent, Hint::Wrong]),
    )
        .prop_map(|(seed, flags, head_biases, temperature, hint)| CallOptions {
            seed: u64::from(seed),
            flags,
            head_biases,
            temperature,
            hint,
        })
}

fn assemble(
    [batch, height, width]: Extents,
    [groups, inputs, outputs]: [usize; 3],
    axes: [Axis; 2],
    padding: Padding,
    (experts, attention): (usize, Option<Attention>),
    (bias, layout, batch_norm, activation): Tail,
    call: CallOptions,
) -> Problem {
    let mut input = [height, width];
    let taps = [0, 1].map(|axis| match axes[axis].0 {
        Taps::Fixed(taps) => taps,
        Taps::Input => input[axis],
        Taps::BeyondInput(more) => input[axis] + more,
    });
    // Large ones cost much and show nothing new.
    let taps = taps.map(|taps| taps.min(9));
    let mut channels = [groups, inputs, outputs];
    let config = |[groups, inputs, outputs]: [usize; 3]| -> Result<Config> {
        Options::new(groups * inputs, groups * outputs)
            .groups(groups)
            .kernel_size(taps)
            .stride(axes.map(|(_, stride, _)| stride))
            .dilation(axes.map(|(_, _, dilation)| dilation))
            .padding(padding)
            .experts(experts)
            .attention(attention)
            .bias(bias)
            .layout(layout)
            .batch_norm(batch_norm)
            .activation(activation)
            .build()
    };
    let mut batch = batch;
    let config = loop {
        // Nothing in these strategies is impossible.
        let Ok(config) = config(channels) else { unreachable!("an impossible option") };
        grow_to_fit(&config, &mut input);
        if multiply_adds(&config, batch, input) <= MOST_MULTIPLY_ADDS
            || !shrink(&config, &mut batch, &mut input, &mut channels)
        {
            break config;
        }
    };
    let [given, residual, trainable, batch_statistics] = call.flags;
    Problem {
        data: Data::Reals,
        seed: call.seed,
        given,
        residual,
        temperature: call.temperature,
        trainable,
        batch_statistics,
        head_biases: call.head_biases,
        precision: Precision::F32,
        hint: call.hint,
        ..Problem::new(config, [batch, input[0], input[1]])
    }
}

/// Makes the input large enough for the dilated kernel.
fn grow_to_fit(config: &Config, input: &mut [usize; 2]) {
    while config.geometry(input[0], input[1]).is_err() {
        for (axis, reach) in config.reach().into_iter().enumerate() {
            let alone =
                [0, 1].map(|other| if other == axis { input[axis] } else { reach.max(input[other]) + 8 });
            let fits = config.geometry(alone[0].max(1), alone[1].max(1)).is_ok();
            if !fits {
                input[axis] += 1;
            }
        }
    }
}

fn multiply_adds(config: &Config, batch: usize, input: [usize; 2]) -> usize {
    let output = config.geometry(input[0], input[1]).map_or([1, 1], |geometry| geometry.output);
    batch.max(1) * output[0] * output[1] * config.out_channels() * config.reduction_len()
}

/// Takes away what costs most and shows least; `false` where nothing is left to take.
fn shrink(
    config: &Config,
    batch: &mut usize,
    input: &mut [usize; 2],
    [groups, inputs, outputs]: &mut [usize; 3],
) -> bool {
    let fits = |height, width| config.geometry(height, width).is_ok();
    if input[0] > 3 && fits(input[0] - 1, input[1]) {
        input[0] -= 1;
    } else if *inputs > 16 {
        *inputs /= 2;
    } else if *batch > 2 {
        *batch = 2;
    } else if *groups > 1 && *inputs * *outputs > 1 {
        *groups -= 1;
    } else if input[1] > 16 && fits(input[0], 16) {
        input[1] = 16;
    } else if *inputs > 2 {
        *inputs = inputs.div_ceil(2);
    } else if *outputs > 17 {
        *outputs -= 16;
    } else if *batch > 1 {
        *batch = 1;
    } else if *outputs > 5 {
        *outputs = outputs.div_ceil(2);
    } else {
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::*;

    /// Every edge that the documentation promises comes up, and nothing is large.
    #[test]
    fn edges_come_up_often() {
        let mut runner = TestRunner::deterministic();
        let problems: Vec<Problem> =
            (0..2000).map(|_| problems().new_tree(&mut runner).unwrap().current()).collect();
        let share = |what: &str, at_least: usize, is: &dyn Fn(&Problem) -> bool| {
            let found = problems.iter().filter(|problem| is(problem)).count();
            assert!(found >= at_least, "{what}: {found} of 2000, expected at least {at_least}");
        };
        let output = |p: &Problem| p.config.geometry(p.height, p.width).unwrap().output;
        let any_axis = |f: &dyn Fn(usize) -> bool| f(0) || f(1);
        share("one group", 800, &|p| p.config.groups() == 1);
        share("depthwise", 300, &|p| p.config.is_depthwise() && p.config.groups() > 1);
        share("narrow groups", 100, &|p| {
            let [inputs, outputs] = [p.config.in_channels_per_group(), p.config.out_channels_per_group()];
            p.config.groups() > 1 && inputs > 1 && inputs <= outputs && [2, 4, 8].contains(&outputs)
        });
        share("depthwise multiplier", 100, &|p| {
            p.config.is_depthwise() && p.config.groups() > 1 && p.config.out_channels_per_group() > 1
        });
        share("one expert", 300, &|p| p.config.experts() == 1);
        share("empty batch", 30, &|p| p.batch == 0);
        share("one input pixel", 10, &|p| p.height * p.width == 1);
        share("one output pixel", 50, &|p| output(p) == [1, 1]);
        share("kernel = input", 30, &|p| p.config.kernel_size() == [p.height, p.width]);
        share("kernel > input", 100, &|p| {
            any_axis(&|axis| p.config.kernel_size()[axis] > [p.height, p.width][axis])
        });
        share("stride > kernel", 200, &|p| {
            any_axis(&|axis| p.config.stride()[axis] > p.config.kernel_size()[axis])
        });
        share("uneven strides", 300, &|p| p.config.stride()[0] != p.config.stride()[1]);
        share("even kernels", 200, &|p| any_axis(&|axis| p.config.kernel_size()[axis] == 2));
        share("`same` with dilation", 100, &|p| {
            p.config.padding() == Padding::Same
                && any_axis(&|axis| p.config.dilation()[axis] > 1 && p.config.kernel_size()[axis] > 1)
        });
        share("plain 3×3", 300, &|p| {
            p.config.kernel_size() == [3, 3] && p.config.stride() == [1, 1] && p.config.dilation() == [1, 1]
        });
        share("pointwise", 200, &|p| p.config.is_pointwise());
        share("full and partial tile", 60, &|p| {
            [33, 49, 65].contains(&p.config.out_channels()) && output(p)[1] >= 15
        });
        share("padding beyond the kernel", 50, &|p| match p.config.padding() {
            Padding::Explicit { top, bottom, left, right } => {
                let [rows, columns] = p.config.kernel_size();
                top.max(bottom) > rows && left.max(right) > columns && (top, left) != (bottom, right)
            }
            _ => false,
        });
        share("batch statistics", 100, &|p| p.batch_statistics && p.config.batch_norm().is_some());
        for problem in &problems {
            let cost = multiply_adds(&problem.config, problem.batch, [problem.height, problem.width]);
            assert!(cost <= 4 * MOST_MULTIPLY_ADDS, "{cost} multiply-adds: {problem:?}");
            problem.build().unwrap();
        }
    }
}
