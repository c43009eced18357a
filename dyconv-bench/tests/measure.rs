//! What is measured: calls in turn, the right layer under the right name, deviations that can't hide.

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use dyconv_bench::compare::Plan;
use dyconv_bench::measure::{Manner, Measurement, measure};
use dyconv_bench::precision::Storage;
use dyconv_bench::problem::Problem;
use dyconv_bench::progress::Progress;
use dyconv_bench::ready::Pass;
use dyconv_bench::record::Row;
use dyconv_bench::roster::Wanted;
use dyconv_bench::timing::{Budget, Timing};
use dyconv_bench::workloads::select;
use dyconv_core::{
    AnyBackend, Backend, Call, DyConv2d, Info, Layout, MaybeSend, Output, Prepare, Reference, Result, Tensor,
    TensorView,
};

/// The reference, which writes down what it runs, and errs or dawdles where it is told to.
#[derive(Clone, Debug, Default)]
struct Witness {
    inner: Reference,
    /// The experts of every layer run.
    experts: Arc<Mutex<Vec<usize>>>,
    /// Added to every sample's last output.
    error: f32,
    /// How long a static layer takes.
    static_takes: Duration,
}

impl Backend for Witness {
    type Tensor = <Reference as Backend>::Tensor;
    type Layer = <Reference as Backend>::Layer;
    type Stream = <Reference as Backend>::Stream;

    fn info(&self) -> &Info {
        self.inner.info()
    }

    fn stream(&self) -> Result<Self::Stream> {
        self.inner.stream()
    }

    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<Self::Layer> {
        self.inner.prepare(layer, how)
    }

    fn upload(&self, stream: &mut Self::Stream, host: TensorView<'_>) -> Result<Self::Tensor> {
        self.inner.upload(stream, host)
    }

    fn forward(
        &self,
        stream: &mut Self::Stream,
        layer: &Self::Layer,
        call: &Call<'_, Self::Tensor>,
    ) -> Result<Output<Self::Tensor>> {
        let experts = layer.config().experts();
        self.experts.lock().unwrap().push(experts);
        if experts == 1 {
            sleep(self.static_takes);
        }
        let mut output = self.inner.forward(stream, layer, call)?;
        let mut host = self.inner.download(stream, &output.output)?;
        let sample = host.shape().sample_len();
        for last in host.data_mut().chunks_mut(sample).filter_map(|sample| sample.last_mut()) {
            *last += self.error;
        }
        output.output = self.inner.upload(stream, host.view())?;
        Ok(output)
    }

    fn finish(&self, stream: &mut Self::Stream) -> Result<()> {
        self.inner.finish(stream)
    }

    async fn download_async<'a>(
        &'a self,
        stream: &'a mut Self::Stream,
        tensor: &'a Self::Tensor,
    ) -> Result<Tensor>
    where
        Self: MaybeSend,
    {
        self.inner.download_async(stream, tensor).await
    }
}

fn problem(batch: usize, layout: Layout) -> Problem {
    Problem::new(select(&["mbv2-dw-960x7".into()]).unwrap()[0], batch, layout).unwrap()
}

#[test]
fn dynamic_and_static_calls_alternate_after_a_warm_up_of_each() {
    let witness = Witness::default();
    let budget = Budget { time: Duration::from_secs(3600), most_runs: 3, turn: Duration::ZERO };
    let measured =
        measure(&AnyBackend::new(witness.clone()), &problem(1, Layout::Nchw), &Manner::plain(budget))
            .unwrap();
    assert_eq!(*witness.experts.lock().unwrap(), [4, 1, 4, 1, 4, 1, 4, 1]);
    assert_eq!((measured.dynamic.runs, measured.static_.runs), (3, 3));
    assert_eq!(measured.end_to_end, None);
}

#[test]
fn an_exhausted_budget_still_gives_one_pair() {
    let witness = Witness::default();
    measure(&AnyBackend::new(witness.clone()), &problem(1, Layout::Nchw), &Manner::plain(Budget::ONCE))
        .unwrap();
    assert_eq!(*witness.experts.lock().unwrap(), [4, 1, 4, 1]);
}

#[test]
fn each_time_stands_under_its_own_name() {
    let static_takes = Duration::from_secs(1);
    let backend = AnyBackend::new(Witness { static_takes, ..Witness::default() });
    let measured = measure(&backend, &problem(1, Layout::Nchw), &Manner::plain(Budget::ONCE)).unwrap();
    assert!(measured.static_.min_us >= 1e6, "{measured:?}");
    assert!(measured.dynamic.min_us < measured.static_.min_us, "{measured:?}");
}

#[test]
fn an_error_in_one_output_is_found_in_either_layout_and_any_batch() {
    for layout in Layout::ALL {
        for batch in [1, 3] {
            let worst = |error| {
                let backend = AnyBackend::new(Witness { error, ..Witness::default() });
                measure(&backend, &problem(batch, layout), &Manner::plain(Budget::ONCE)).unwrap()
            };
            assert_eq!(worst(0.0).worst_error, 0.0);
            let wrong = worst(0.5);
            assert!((wrong.worst_error - 0.5).abs() < 1e-3, "{wrong:?}");
            assert!(wrong.tolerance < 1e-3, "{wrong:?}");
            assert_eq!(worst(f32::NAN).worst_error, f64::INFINITY);
        }
    }
}

#[test]
fn a_plan_measures_every_combination_once() {
    let plan = Plan {
        workloads: select(&["mbv2-dw-960x7".into()]).unwrap(),
        batches: Some(vec![1, 2]),
        layouts: Layout::ALL.to_vec(),
        storages: vec![Storage::F32],
        activations: vec![Storage::F32],
        pass: Pass::Forward,
        cold: None,
        direct: false,
        budget: Budget::ONCE,
        passes: 1,
        longest_row: Duration::MAX,
        longest_backend: Duration::MAX,
    };
    let backends = [AnyBackend::new(Reference::default()), AnyBackend::new(Witness::default())];
    let outcome = plan.run(&backends, &Progress::new("", 8)).unwrap();
    let mut rows: Vec<_> = outcome.rows.iter().map(|row| (row.batch, row.layout.to_string())).collect();
    assert_eq!((rows.len(), outcome.skipped.len()), (2 * plan.rows_per_backend(), 0));
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), 4);
    assert!(outcome.rows.iter().all(|row| row.gflops > 0.0 && row.plan == "generic" && row.runs == 1));

    // Further passes measure the same rows.
    let again = Plan { passes: 3, ..plan.clone() }.run(&backends, &Progress::new("", 24)).unwrap();
    let what = |row: &Row| (row.workload, row.batch, row.layout, row.backend.clone());
    assert_eq!(
        again.rows.iter().map(what).collect::<Vec<_>>(),
        outcome.rows.iter().map(what).collect::<Vec<_>>()
    );
    assert_eq!(again.passes, 3);

    // Neither stores activations otherwise.
    let plan = Plan { activations: vec![Storage::F32, Storage::F16], ..plan };
    let outcome = plan.run(&backends, &Progress::new("", 8)).unwrap();
    assert_eq!((outcome.rows.len(), outcome.skipped.len()), (8, 8));
    for skipped in outcome.skipped {
        assert_eq!(skipped.activations, Storage::F16);
        assert_eq!(skipped.reason, "it stores activations in f32, not f16");
    }
}

/// Calls in turn, cold ones and the direct kernel's are each disturbed in another of three passes.
#[test]
fn what_disturbs_one_pass_of_three_counts_nowhere() {
    let timing = |median_us| Timing { median_us, min_us: 1.0, runs: 7 };
    let pass = |dynamic, cold: f64, direct, worst_error| Measurement {
        dynamic: timing(dynamic),
        static_: timing(dynamic / 2.0),
        cold: Some([timing(cold), timing(cold / 2.0)]),
        direct: Some(timing(direct)),
        end_to_end: None,
        peak_gflops: Some(100.0 - dynamic),
        handoff_ns: None,
        worst_error,
        tolerance: 1.0,
        plan: "direct".into(),
        static_plan: "direct".into(),
    };
    let passes = vec![pass(90.0, 31.0, 41.0, 0.1), pass(21.0, 99.0, 40.0, 0.3), pass(20.0, 30.0, 99.0, 0.2)];
    let middle = pass(21.0, 31.0, 41.0, 0.3);
    assert_eq!(Measurement::middle(passes), Some(middle.clone()));
    assert_eq!(
        Measurement::middle(vec![pass(90.0, 30.0, 40.0, 0.3), middle.clone()]),
        Some(Measurement { cold: Some([timing(30.0), timing(15.0)]), direct: Some(timing(40.0)), ..middle })
    );
    assert_eq!(Measurement::middle(Vec::new()), None);
}

#[test]
fn the_direct_kernel_is_timed_beside_dense_spatial_layers_of_one_sample_alone() {
    let backend = wanted("simd-portable");
    let plan = Plan {
        workloads: select(&["resnet18-512x7".into(), "mbv2-dw-960x7".into()]).unwrap(),
        batches: Some(vec![1, 2]),
        layouts: vec![Layout::Nhwc],
        storages: vec![Storage::F32],
        activations: vec![Storage::F32],
        pass: Pass::Forward,
        cold: None,
        direct: true,
        budget: Budget::ONCE,
        passes: 1,
        longest_row: Duration::MAX,
        longest_backend: Duration::MAX,
    };
    let rows = plan.run(&[backend], &Progress::new("", 4)).unwrap().rows;
    let direct: Vec<_> = rows.iter().map(|row| row.direct_static_median_us.is_some()).collect();
    assert_eq!(direct, [true, false, false, false]);
    assert!(rows[0].direct_share_of_peak().unwrap() > 0.0);
}

fn wanted(name: &str) -> AnyBackend {
    let mut candidates = Wanted::parse(&[name.into()]).unwrap().open(Some(1)).unwrap();
    candidates.remove(0).backend.unwrap()
}
