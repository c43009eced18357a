//! The kernels of training: what a backward and a step run, beside those of the forward.

use super::Access::{self, Read, Write};

/// One compute kernel of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TrainKernel {
    Apply,
    MoveRunning,
    Reduce,
    ActivateBackward,
    Sums,
    NormalizeBackward,
    ConvolveInput,
    DepthwiseInput,
    ConvolveKernels,
    DepthwiseKernels,
    AggregateBackward,
    AttentionBackward,
    HeadBackward,
    PoolMeanBackward,
    PoolChosen,
    PoolMaxBackward,
    MoveParameters,
    SumSquares,
    Constrain,
}

impl TrainKernel {
    pub(crate) const ALL: [Self; 19] = [
        Self::Apply,
        Self::MoveRunning,
        Self::Reduce,
        Self::ActivateBackward,
        Self::Sums,
        Self::NormalizeBackward,
        Self::ConvolveInput,
        Self::DepthwiseInput,
        Self::ConvolveKernels,
        Self::DepthwiseKernels,
        Self::AggregateBackward,
        Self::AttentionBackward,
        Self::HeadBackward,
        Self::PoolMeanBackward,
        Self::PoolChosen,
        Self::PoolMaxBackward,
        Self::MoveParameters,
        Self::SumSquares,
        Self::Constrain,
    ];

    pub(super) fn entry_point(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::MoveRunning => "move_running",
            Self::Reduce => "reduce",
            Self::ActivateBackward => "activate_backward",
            Self::Sums => "sums",
            Self::NormalizeBackward => "normalize_backward",
            Self::ConvolveInput => "convolve_input_backward",
            Self::DepthwiseInput => "depthwise_input_backward",
            Self::ConvolveKernels => "convolve_kernels_backward",
            Self::DepthwiseKernels => "depthwise_kernels_backward",
            Self::AggregateBackward => "aggregate_backward",
            Self::AttentionBackward => "attention_backward",
            Self::HeadBackward => "head_backward",
            Self::PoolMeanBackward => "pool_mean_backward",
            Self::PoolChosen => "pool_chosen",
            Self::PoolMaxBackward => "pool_max_backward",
            Self::MoveParameters => "move_parameters",
            Self::SumSquares => "sum_squares",
            Self::Constrain => "constrain",
        }
    }

    pub(super) fn stage(self) -> &'static str {
        match self {
            Self::Apply => "activate",
            Self::MoveRunning => "normalize",
            Self::ActivateBackward => "activate backward",
            Self::Sums | Self::NormalizeBackward => "normalize backward",
            Self::ConvolveInput | Self::DepthwiseInput => "input backward",
            Self::ConvolveKernels | Self::DepthwiseKernels => "kernels backward",
            Self::AggregateBackward | Self::Reduce => "aggregate backward",
            Self::AttentionBackward | Self::HeadBackward => "attention backward",
            Self::PoolMeanBackward | Self::PoolChosen | Self::PoolMaxBackward => "pool backward",
            Self::MoveParameters | Self::SumSquares | Self::Constrain => "step",
        }
    }

    pub(super) fn storage(self) -> &'static [Access] {
        match self {
            Self::Apply | Self::Reduce | Self::PoolMeanBackward | Self::PoolChosen => &[Read, Write],
            Self::SumSquares | Self::Constrain => &[Read, Write],
            Self::ActivateBackward | Self::PoolMaxBackward => &[Read, Read, Write],
            Self::ConvolveKernels | Self::DepthwiseKernels => &[Read, Read, Write],
            Self::HeadBackward => &[Read, Read, Read, Write],
            Self::MoveParameters => &[Read, Read, Write, Write, Write],
            Self::Sums | Self::ConvolveInput | Self::DepthwiseInput => &[Read, Read, Read, Read, Write],
            Self::AggregateBackward => &[Read, Read, Read, Write, Write],
            Self::MoveRunning | Self::AttentionBackward => &[Read, Read, Read, Read, Write, Write],
            Self::NormalizeBackward => &[Read, Read, Read, Read, Read, Read, Write],
        }
    }

    pub(super) fn wgsl(self) -> String {
        macro_rules! shaders {
            ($($name:literal),*) => {
                &[include_str!("../../shaders/grid.wgsl"), $(include_str!(concat!("../../shaders/", $name, ".wgsl"))),*]
            };
        }
        let parts: &[&str] = match self {
            Self::Apply => shaders!["exp", "activate", "apply"],
            Self::MoveRunning => shaders!["move_running"],
            Self::Reduce => shaders!["across/tree", "reduce"],
            Self::ActivateBackward => shaders!["exp", "activate", "backward/activate"],
            Self::Sums => shaders!["across/tree", "backward/sums"],
            Self::NormalizeBackward => shaders!["backward/normalize"],
            Self::ConvolveInput => {
                shaders![
                    "backward/geometry",
                    "backward/products",
                    "backward/convolve_input",
                    "backward/input"
                ]
            }
            Self::DepthwiseInput => {
                shaders!["backward/geometry", "backward/depthwise_input", "backward/input"]
            }
            Self::ConvolveKernels => {
                shaders!["backward/geometry", "backward/products", "backward/convolve_kernels"]
            }
            Self::DepthwiseKernels => {
                shaders!["across/tree", "backward/geometry", "backward/depthwise_kernels"]
            }
            Self::AggregateBackward => shaders!["backward/aggregate"],
            Self::AttentionBackward => shaders!["across/tree", "backward/attention"],
            Self::HeadBackward => shaders!["backward/head"],
            Self::PoolMeanBackward => shaders!["backward/pool_mean"],
            Self::PoolChosen => shaders!["backward/windows", "backward/pool_chosen"],
            Self::PoolMaxBackward => shaders!["backward/windows", "backward/pool_max"],
            Self::MoveParameters => shaders!["step/move"],
            Self::SumSquares => shaders!["across/tree", "step/groups", "step/squares"],
            Self::Constrain => shaders!["step/groups", "step/constrain"],
        };
        parts.join("\n")
    }
}
