//! Kernel times of repeated calls, put together by kernel.

use std::time::Duration;

use dyconv_core::Cost;
use dyconv_wgpu::KernelTime;
use serde::Serialize;

use crate::timing::Timing;

/// One kernel's part of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kernel {
    /// The kernel, with its tile where it has one.
    pub kernel: String,
    /// The stage that it is a part of.
    pub stage: &'static str,
    /// How often it runs in one call: once for each part of a batch that is split.
    pub runs: usize,
    /// Median of its runs' time together, by the device's clock.
    pub us: f64,
    /// Its part of all kernels' time, 0 to 1.
    pub share: f64,
    /// 2 · the stage's multiply-adds, as the mathematics states them, over the time of all kernels of the stage. Winograd
    /// needs fewer. `null` for what is no stage of the layer.
    pub gflops: Option<f64>,
    /// Bytes of the buffers that it binds, each once, over its time.
    pub gb_per_s: f64,
}

/// The kernels of calls that are all alike.
#[derive(Clone, Debug, Default)]
pub struct Kernels {
    kernels: Vec<Runs>,
    together: Vec<Duration>,
}

/// One kernel's runs.
#[derive(Clone, Debug)]
struct Runs {
    kernel: String,
    stage: &'static str,
    /// In one call.
    count: usize,
    bytes: u64,
    /// One per call.
    times: Vec<Duration>,
}

impl Kernels {
    /// Adds one call's kernels.
    pub fn add(&mut self, call: &[KernelTime]) {
        let number = self.together.len();
        for time in call {
            let runs = self.of(time);
            if number == 0 {
                runs.count += 1;
                runs.bytes += time.bytes;
            }
            runs.times.resize(number + 1, Duration::ZERO);
            runs.times[number] += Duration::from_secs_f64(time.seconds);
        }
        self.together.push(call.iter().map(|time| Duration::from_secs_f64(time.seconds)).sum());
    }

    /// The runs of this kernel so far.
    fn of(&mut self, time: &KernelTime) -> &mut Runs {
        let same = |runs: &Runs| (runs.stage, &runs.kernel) == (time.stage, &time.kernel);
        let position = self.kernels.iter().position(same).unwrap_or_else(|| {
            let (kernel, stage) = (time.kernel.clone(), time.stage);
            self.kernels.push(Runs { kernel, stage, count: 0, bytes: 0, times: Vec::new() });
            self.kernels.len() - 1
        });
        &mut self.kernels[position]
    }

    /// Median time of all kernels together, in microseconds.
    #[must_use]
    pub fn together_us(&self) -> f64 {
        Timing::of(self.together.clone()).median_us
    }

    /// The same of one stage's kernels.
    #[must_use]
    pub fn stage_us(&self, stage: &str) -> f64 {
        self.kernels.iter().filter(|runs| runs.stage == stage).map(Runs::us).sum()
    }

    /// Each kernel, for a layer that costs so much.
    #[must_use]
    pub fn list(&self, cost: &Cost) -> Vec<Kernel> {
        let total: f64 = self.kernels.iter().map(Runs::us).sum();
        let kernel = |runs: &Runs| Kernel {
            kernel: runs.kernel.clone(),
            stage: runs.stage,
            runs: runs.count,
            us: runs.us(),
            share: runs.us() / total,
            gflops: multiply_adds(cost, runs.stage)
                .map(|count| 2e-3 * count as f64 / self.stage_us(runs.stage)),
            gb_per_s: 1e-3 * runs.bytes as f64 / runs.us(),
        };
        self.kernels.iter().map(kernel).collect()
    }
}

impl Runs {
    fn us(&self) -> f64 {
        Timing::of(self.times.clone()).median_us
    }
}

fn multiply_adds(cost: &Cost, stage: &str) -> Option<u64> {
    let of_stage = match stage {
        "pool" => cost.pool,
        "attention" => cost.attention,
        "aggregate" => cost.aggregate,
        "convolve" => cost.convolve,
        _ => return None,
    };
    Some(of_stage.multiply_adds)
}

#[cfg(test)]
mod tests {
    use dyconv_core::Shape;

    use super::*;
    use crate::workloads::by_name;

    fn time(kernel: &str, stage: &'static str, us: f64, bytes: u64) -> KernelTime {
        KernelTime { kernel: kernel.into(), stage, seconds: us * 1e-6, bytes }
    }

    #[test]
    fn a_kernel_that_runs_twice_in_a_call_is_one_line() {
        let mut kernels = Kernels::default();
        for us in [10.0, 30.0, 20.0] {
            let half = || time("tiled", "convolve", us / 2.0, 1000);
            kernels.add(&[
                time("pool", "pool", 5.0, 100),
                half(),
                half(),
                time("other", "convolve", 15.0, 0),
            ]);
        }
        let workload = by_name("resnet18-64x56").unwrap();
        let config = workload.config(dyconv_core::Layout::Nchw).unwrap();
        let cost = Cost::new(&config, Shape::new(1, 64, 56, 56).unwrap()).unwrap();
        assert_eq!((kernels.together_us(), kernels.stage_us("convolve")), (40.0, 35.0));
        let [pool, tiled, other] = &kernels.list(&cost)[..] else { panic!("three kernels") };
        assert_eq!((pool.us, tiled.us, other.us), (5.0, 20.0, 15.0));
        assert_eq!((pool.runs, tiled.runs, other.runs), (1, 2, 1));
        assert_eq!((pool.share, tiled.share), (0.125, 0.5));
        // Both kernels of the stage did its work in 35 µs.
        let gflops = 2e-3 * (56 * 56 * 64 * 64 * 9) as f64 / 35.0;
        assert_eq!((tiled.gflops, other.gflops), (Some(gflops), Some(gflops)));
        assert_eq!((tiled.gb_per_s, other.gb_per_s), (0.1, 0.0));
    }
}
