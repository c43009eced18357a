//! The layers that are measured: real sizes, each with a name and a source.

use dyconv_core::{Attention, Config, Error, Layout, Options, Padding, Result, Shape, hidden};
use serde::Serialize;

use crate::precision::Storage;

const RESNET: &str = "ResNet-18, 3×3 stages (He et al. 2016), made dynamic as in Chen et al. 2020";
const EXPAND: &str =
    "MobileNetV2, 1×1 expand layers (Sandler et al. 2018), made dynamic as in Chen et al. 2020";
const PROJECT: &str =
    "MobileNetV2, 1×1 project layers (Sandler et al. 2018), made dynamic as in Chen et al. 2020";
const DEPTHWISE: &str =
    "MobileNetV2, 3×3 depthwise layers (Sandler et al. 2018), made dynamic as in Chen et al. 2020";
const MORE_EXPERTS: &str = "extra: ResNet-18's third stage with eight experts (Chen et al. 2020, figure 6)";
const STEM: &str = "extra: MobileNetV2's stem, which Chen et al. 2020 leave static";
const LAST: &str = "extra: MobileNetV2's last 1×1 layer, which Chen et al. 2020 leave static";

/// Batches of layers that are measured one image at a time.
const SINGLE: &[usize] = &[1];
/// Batches of the layers that are also measured in batches.
const BATCHED: &[usize] = &[1, 8, 32];

/// The largest batch: its tensors are really made.
const MOST_SAMPLES: usize = 1024;

/// Whether tensors of so many samples may be made.
///
/// # Errors
/// Where there are none, or too many.
pub fn check_batch(batch: usize) -> Result<()> {
    match (1..=MOST_SAMPLES).contains(&batch) {
        true => Ok(()),
        false => Err(Error::invalid("batch", batch, format!("1 to {MOST_SAMPLES} samples"))),
    }
}

/// One layer at its real size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// `network-kind-channels x extent`: `resnet18-64x56`, `mbv2-project-384-96x14`.
    pub name: &'static str,
    /// Where the layer comes from.
    pub source: &'static str,
    /// Whether it is beyond the layers that the paper measures dynamic.
    pub extra: bool,
    /// Cin.
    pub in_channels: usize,
    /// Cout.
    pub out_channels: usize,
    /// kh = kw.
    pub kernel: usize,
    /// Stride of both axes.
    pub stride: usize,
    /// G.
    pub groups: usize,
    /// H = W of the input.
    pub extent: usize,
    /// K.
    pub experts: usize,
    /// Batch sizes that are measured unless others are asked for.
    pub batches: &'static [usize],
}

const fn dense(name: &'static str, source: &'static str, channels: [usize; 2], extent: usize) -> Workload {
    let [in_channels, out_channels] = channels;
    Workload {
        name,
        source,
        extra: false,
        in_channels,
        out_channels,
        kernel: 1,
        stride: 1,
        groups: 1,
        extent,
        experts: 4,
        batches: SINGLE,
    }
}

const fn spatial(name: &'static str, channels: usize, extent: usize, batches: &'static [usize]) -> Workload {
    Workload { kernel: 3, batches, ..dense(name, RESNET, [channels, channels], extent) }
}

const fn depthwise(name: &'static str, channels: usize, extent: usize, stride: usize) -> Workload {
    Workload { kernel: 3, stride, groups: channels, ..dense(name, DEPTHWISE, [channels, channels], extent) }
}

/// Every workload, the extras last.
pub const WORKLOADS: &[Workload] = &[
    spatial("resnet18-64x56", 64, 56, SINGLE),
    spatial("resnet18-128x28", 128, 28, BATCHED),
    spatial("resnet18-256x14", 256, 14, SINGLE),
    spatial("resnet18-512x7", 512, 7, BATCHED),
    dense("mbv2-expand-16-96x112", EXPAND, [16, 96], 112),
    dense("mbv2-expand-24-144x56", EXPAND, [24, 144], 56),
    dense("mbv2-expand-32-192x28", EXPAND, [32, 192], 28),
    dense("mbv2-expand-64-384x14", EXPAND, [64, 384], 14),
    dense("mbv2-expand-96-576x14", EXPAND, [96, 576], 14),
    dense("mbv2-expand-160-960x7", EXPAND, [160, 960], 7),
    dense("mbv2-project-96-24x56", PROJECT, [96, 24], 56),
    dense("mbv2-project-144-32x28", PROJECT, [144, 32], 28),
    dense("mbv2-project-192-64x14", PROJECT, [192, 64], 14),
    dense("mbv2-project-384-96x14", PROJECT, [384, 96], 14),
    dense("mbv2-project-576-160x7", PROJECT, [576, 160], 7),
    dense("mbv2-project-960-320x7", PROJECT, [960, 320], 7),
    depthwise("mbv2-dw-96x112-s2", 96, 112, 2),
    depthwise("mbv2-dw-96x56", 96, 56, 1),
    depthwise("mbv2-dw-192x28", 192, 28, 1),
    depthwise("mbv2-dw-384x14", 384, 14, 1),
    depthwise("mbv2-dw-960x7", 960, 7, 1),
    Workload {
        experts: 8,
        extra: true,
        source: MORE_EXPERTS,
        ..spatial("resnet18-256x14-k8", 256, 14, SINGLE)
    },
    Workload { kernel: 3, stride: 2, extra: true, ..dense("mbv2-stem-3-32x224-s2", STEM, [3, 32], 224) },
    Workload { extra: true, ..dense("mbv2-last-320-1280x7", LAST, [320, 1280], 7) },
];

const RESNEXT: &str =
    "extra: ResNeXt-50 32×4d, 3×3 stages (Xie et al. 2017), made dynamic as in Chen et al. 2020";

const fn grouped(name: &'static str, channels: usize, extent: usize) -> Workload {
    let layer = spatial(name, channels, extent, SINGLE);
    Workload { source: RESNEXT, extra: true, groups: 32, ..layer }
}

/// Grouped layers, of a network that the paper doesn't measure. Asked for by name, or as `resnext50`; `all` doesn't have
/// them.
pub const GROUPED_WORKLOADS: &[Workload] = &[
    grouped("resnext50-128x56", 128, 56),
    grouped("resnext50-256x28", 256, 28),
    grouped("resnext50-512x14", 512, 14),
    grouped("resnext50-1024x7", 1024, 7),
];

const GPU_LAYER: &str = "a 3×3 layer by which GPU kernels are compared";

/// Layers that only a GPU is measured on: small enough for a software driver, and large enough for a fast one. Asked
/// for by name, or as `gpu`; `all` doesn't have them.
pub const GPU_WORKLOADS: &[Workload] = &[
    Workload { source: GPU_LAYER, extra: true, ..spatial("gpu-64x28", 64, 28, &[2]) },
    Workload { source: GPU_LAYER, extra: true, ..spatial("gpu-256x56", 256, 56, &[32]) },
];

/// Every workload that can be asked for.
pub fn known() -> impl Iterator<Item = &'static Workload> {
    WORKLOADS.iter().chain(GROUPED_WORKLOADS).chain(GPU_WORKLOADS)
}

/// The place of a workload among all, by which tables and plots are sorted; behind the last one for other names.
#[must_use]
pub fn position(name: &str) -> usize {
    known().position(|workload| workload.name == name).unwrap_or(known().count())
}

impl Workload {
    /// The layer's configuration: the paper's head (hidden = Cin/4, softmax), expert biases, PyTorch's padding.
    ///
    /// # Errors
    /// Never for the workloads of [`WORKLOADS`].
    pub fn config(&self, layout: Layout) -> Result<Config> {
        Options::new(self.in_channels, self.out_channels)
            .kernel_size([self.kernel; 2])
            .stride([self.stride; 2])
            .padding(Padding::symmetric([self.kernel / 2; 2]))
            .groups(self.groups)
            .experts(self.experts)
            .bias(true)
            .layout(layout)
            .attention(Attention::mlp(self.hidden()))
            .build()
    }

    /// Hidden units of the attention head: Cin/4.
    #[must_use]
    pub fn hidden(&self) -> usize {
        hidden::paper(self.in_channels)
    }

    /// The input's shape.
    ///
    /// # Errors
    /// Where the batch doesn't fit the address space.
    pub fn input_shape(&self, batch: usize) -> Result<Shape> {
        Shape::new(batch, self.in_channels, self.extent, self.extent)
    }

    /// Whether it is a k×k layer of the paper whose outputs see every input channel.
    #[must_use]
    pub fn is_dense_spatial(&self) -> bool {
        self.kernel > 1 && self.groups == 1 && !self.extra
    }

    /// Bytes of all experts.
    #[must_use]
    pub fn expert_bytes(&self, storage: Storage) -> u64 {
        let weights = self.experts * self.out_channels * self.in_channels / self.groups * self.kernel.pow(2);
        weights as u64 * storage.bytes()
    }

    /// The layer in words: `3×3 64→64 @56, K = 4`.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { kernel, in_channels, out_channels, extent, experts, stride, .. } = self;
        let (depthwise, groups) = match self.groups {
            1 => ("", String::new()),
            groups if groups == *in_channels => (" depthwise", String::new()),
            groups => ("", format!(", {groups} groups")),
        };
        let stride = if *stride > 1 { format!(", stride {stride}") } else { String::new() };
        format!(
            "{kernel}×{kernel}{depthwise} {in_channels}→{out_channels} @{extent}{stride}{groups}, K = {experts}"
        )
    }
}

/// The workload of exactly this name.
///
/// # Errors
/// Where none is called that: the message lists all.
pub fn by_name(name: &str) -> Result<&'static Workload> {
    known().find(|workload| workload.name == name).ok_or_else(|| {
        let names: Vec<_> = known().map(|workload| workload.name).collect();
        Error::invalid("workload", format!("`{name}`"), format!("one of {}", names.join(", ")))
    })
}

/// The workloads that a name means: a full name, the start of some names up to a dash
/// (`resnet18`, `mbv2-dw`; extras not included), `paper` (all but the extras), `extras`, `all`, `resnext50` or `gpu`.
///
/// # Errors
/// Where nothing is called that: the message lists what is.
pub fn select(names: &[String]) -> Result<Vec<&'static Workload>> {
    let mut chosen: Vec<&'static Workload> = Vec::new();
    for name in names {
        let full: Vec<_> = known().filter(|workload| workload.name == name).collect();
        let found = if full.is_empty() { group(name) } else { full };
        if found.is_empty() {
            return Err(Error::invalid("workload", format!("`{name}`"), format!("one of {}", known_names())));
        }
        for workload in found {
            if !chosen.contains(&workload) {
                chosen.push(workload);
            }
        }
    }
    Ok(chosen)
}

fn group(name: &str) -> Vec<&'static Workload> {
    match name {
        "resnext50" => return GROUPED_WORKLOADS.iter().collect(),
        "gpu" => return GPU_WORKLOADS.iter().collect(),
        _ => {}
    }
    let belongs = |workload: &&Workload| match name {
        "all" => true,
        "paper" => !workload.extra,
        "extras" => workload.extra,
        "" => false,
        start => {
            !workload.extra && workload.name.strip_prefix(start).is_some_and(|rest| rest.starts_with('-'))
        }
    };
    WORKLOADS.iter().filter(belongs).collect()
}

/// Every name that [`select`] takes, for messages.
#[must_use]
pub fn known_names() -> String {
    let names: Vec<_> = known().map(|w| w.name).collect();
    let groups = "all, paper, extras, resnet18, mbv2, mbv2-expand, mbv2-project, mbv2-dw, resnext50, gpu";
    format!("{} (or a group: {groups})", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Vec<&'static str> {
        select(&[name.to_string()]).unwrap().iter().map(|w| w.name).collect()
    }

    #[test]
    fn every_workload_builds_in_both_layouts_and_has_its_own_name() {
        for (i, workload) in known().enumerate() {
            for layout in Layout::ALL {
                let config = workload.config(layout).unwrap();
                config.output_shape(workload.input_shape(1).unwrap()).unwrap();
            }
            assert!(known().take(i).all(|other| other.name != workload.name));
        }
    }

    #[test]
    fn stride_two_halves_the_extent() {
        let workload = select(&["mbv2-dw-96x112-s2".into()]).unwrap()[0];
        let config = workload.config(Layout::Nchw).unwrap();
        assert_eq!(config.geometry(112, 112).unwrap().output, [56, 56]);
    }

    #[test]
    fn a_full_name_means_one_layer_although_others_start_with_it() {
        assert_eq!(names("resnet18-256x14"), ["resnet18-256x14"]);
        assert_eq!(names("resnet18-256x14-k8"), ["resnet18-256x14-k8"]);
        assert_eq!(names("resnet18").len(), 4);
        assert_eq!(names("mbv2-project").len(), 6);
        assert!(names("paper").iter().all(|name| !names("extras").contains(name)));
        assert_eq!(names("paper").len() + names("extras").len(), names("all").len());
        assert_eq!(names("gpu"), ["gpu-64x28", "gpu-256x56"]);
        let grouped = names("resnext50");
        assert_eq!(grouped, ["resnext50-128x56", "resnext50-256x28", "resnext50-512x14", "resnext50-1024x7"]);
        for apart in [names("gpu"), grouped].concat() {
            assert!(["all", "extras"].iter().all(|group| !names(group).contains(&apart)), "{apart}");
        }
    }

    #[test]
    fn layers_are_described_by_their_groups() {
        let described = |name| by_name(name).unwrap().describe();
        assert_eq!(described("resnext50-512x14"), "3×3 512→512 @14, 32 groups, K = 4");
        assert_eq!(described("mbv2-dw-96x112-s2"), "3×3 depthwise 96→96 @112, stride 2, K = 4");
        assert_eq!(described("mbv2-last-320-1280x7"), "1×1 320→1280 @7, K = 4");
    }

    #[test]
    fn a_wrong_name_gets_the_right_ones() {
        for wrong in ["resnet", "", "mbv2-"] {
            let error = select(&[wrong.to_string()]).unwrap_err().to_string();
            assert!(error.contains("resnet18-64x56") && error.contains("mbv2-dw"), "{error}");
        }
    }
}
