//! What the prototypes of these kernels reached, per kind of processor: a goal to read our own share of the peak against.

use serde::Serialize;

/// A kind of processor that goals are known for. Plans never ask for it: they go by instruction set and cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    /// AMD family 25 with AVX-512: half the multiply-add rate of its successor, adders of their own.
    Zen4,
    /// AMD family 26.
    Zen5,
    /// Any other: Zen 5's goals stand in, and no prototype is compared with.
    Other,
}

/// One layer's figures: shares of the multiply-add peak (1 is all of it), from medians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prototype {
    /// The workload's name.
    pub workload: &'static str,
    /// The dynamic layer, experts in 32 bits.
    pub dynamic: f64,
    /// The static layer.
    pub static_: f64,
}

/// Our shares of the peak beside a prototype's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beside {
    /// The workload's name.
    pub workload: &'static str,
    /// Ours, of the dynamic layer in the better layout.
    pub dynamic: Option<f64>,
    /// The prototype's.
    pub dynamic_prototype: f64,
    /// Ours, of the static layer in the better layout.
    #[serde(rename = "static")]
    pub static_: Option<f64>,
    /// The prototype's.
    pub static_prototype: f64,
}

/// µs dynamic, µs static and millions of multiply-adds, against 118.2 GFLOP/s.
const ZEN4: [(&str, f64, f64, f64); 10] = [
    ("resnet18-64x56", 613.0, 589.0, 115.6),
    ("resnet18-128x28", 594.0, 547.0, 115.6),
    ("resnet18-256x14", 751.0, 574.0, 115.6),
    ("resnet18-512x7", 1883.0, 1010.0, 115.6),
    ("mbv2-project-96-24x56", 138.2, 125.3, 7.225),
    ("mbv2-project-384-96x14", 130.2, 122.6, 7.225),
    ("mbv2-project-960-320x7", 292.8, 256.2, 15.05),
    ("mbv2-last-320-1280x7", 377.2, 341.2, 20.07),
    ("mbv2-dw-96x56", 59.7, 46.1, 2.710),
    ("mbv2-dw-960x7", 19.4, 7.1, 0.4234),
];

/// The same against 260 GFLOP/s.
const ZEN5: [(&str, f64, f64, f64); 10] = [
    ("resnet18-64x56", 317.0, 307.0, 115.6),
    ("resnet18-128x28", 317.0, 268.0, 115.6),
    ("resnet18-256x14", 502.0, 331.0, 115.6),
    ("resnet18-512x7", 1071.0, 595.0, 115.6),
    ("mbv2-project-96-24x56", 87.0, 76.0, 7.225),
    ("mbv2-project-384-96x14", 64.2, 55.6, 7.225),
    ("mbv2-project-960-320x7", 163.9, 115.8, 15.05),
    ("mbv2-last-320-1280x7", 200.0, 157.0, 20.07),
    ("mbv2-dw-96x56", 51.7, 42.4, 2.710),
    ("mbv2-dw-960x7", 20.0, 7.8, 0.4234),
];

impl Chip {
    /// Which kind a processor is, from its name as records have it: `AMD EPYC (family 25, model 17)`.
    #[must_use]
    pub fn of(cpu: &str, has_avx512: bool) -> Self {
        match (cpu.contains("AMD"), cpu.contains("(family 25,"), cpu.contains("(family 26,"), has_avx512) {
            (true, true, _, true) => Self::Zen4,
            (true, _, true, true) => Self::Zen5,
            _ => Self::Other,
        }
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zen4 => "Zen 4",
            Self::Zen5 => "Zen 5",
            Self::Other => "another processor, Zen 5's goals",
        }
    }

    /// The goal for Zen 4, or the general one.
    #[must_use]
    pub fn goal(self, general: f64, zen4: f64) -> f64 {
        if self == Self::Zen4 { zen4 } else { general }
    }

    /// What the prototype on this kind of processor reached.
    #[must_use]
    pub fn prototypes(self) -> Vec<Prototype> {
        let (figures, peak) = match self {
            Self::Zen4 => (&ZEN4, 118.2e3),
            Self::Zen5 => (&ZEN5, 260e3),
            Self::Other => return Vec::new(),
        };
        let share = |millions: f64, us: f64| 2e6 * millions / us / peak;
        let prototype = |&(workload, dynamic, static_, millions): &(_, f64, f64, f64)| Prototype {
            workload,
            dynamic: share(millions, dynamic),
            static_: share(millions, static_),
        };
        figures.iter().map(prototype).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::by_name;

    #[test]
    fn a_chip_is_known_by_family_and_instructions() {
        assert_eq!(Chip::of("AMD EPYC (family 25, model 17)", true), Chip::Zen4);
        assert_eq!(Chip::of("AMD EPYC (family 25, model 1)", false), Chip::Other);
        assert_eq!(Chip::of("AMD EPYC (family 26, model 2)", true), Chip::Zen5);
        assert_eq!(Chip::of("Intel Xeon (family 25, model 1)", true), Chip::Other);
        assert_eq!([Chip::Zen4.goal(1.0, 2.0), Chip::Other.goal(1.0, 2.0)], [2.0, 1.0]);
    }

    #[test]
    fn figures_are_of_workloads_that_exist_and_of_their_size() {
        assert!(Chip::Other.prototypes().is_empty());
        for chip in [Chip::Zen4, Chip::Zen5] {
            assert_eq!(chip.prototypes().len(), 10);
        }
        for (name, .., millions) in ZEN4.iter().chain(&ZEN5) {
            let workload = by_name(name).unwrap();
            let outputs = workload.out_channels * (workload.extent / workload.stride).pow(2);
            let sum = workload.in_channels / workload.groups * workload.kernel.pow(2);
            let exact = (outputs * sum) as f64 / 1e6;
            assert!((millions / exact - 1.0).abs() < 1e-3, "{name}: {millions}, exactly {exact}");
        }
    }

    #[test]
    fn the_prototype_reached_three_times_the_peak_with_winograd() {
        let first = Chip::Zen4.prototypes()[0];
        assert!((first.dynamic - 3.19).abs() < 0.01 && first.static_ > first.dynamic, "{first:?}");
    }
}
