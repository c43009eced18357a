//! A layer prepared for the SIMD backend.

use std::sync::{Arc, Mutex, PoisonError};

use dyconv_core::{BatchNormParams, Config, DyConv2d, Prepare, Prepared, Result};

use crate::forward::Statistics;
use crate::isa::{Isa, Traits};
use crate::kernels::attention::Head;
use crate::kernels::normalize::Affine;
use crate::pack::{Family, Packed};
use crate::plan::{Kernel, Plan};
use crate::train::Training;

/// Image sizes whose plans a layer remembers.
const PLANS: usize = 8;

/// A layer whose experts are packed for one instruction set. Share it between threads.
#[derive(Debug)]
pub struct SimdLayer {
    config: Config,
    how: Prepare,
    pub(crate) isa: Isa,
    pub(crate) packed: Packed,
    pub(crate) head: Option<Head>,
    /// Batch norm, where it isn't folded.
    pub(crate) norm: Option<BatchNormParams>,
    /// Of a layer to be trained.
    pub(crate) training: Option<Training>,
    pub(crate) traits: Traits,
    forced: Option<Kernel>,
    /// Plans of the latest image sizes.
    plans: Mutex<Vec<Arc<Plan>>>,
}

impl SimdLayer {
    pub(crate) fn new(
        layer: &DyConv2d,
        how: &Prepare,
        isa: Isa,
        traits: Traits,
        forced: Option<Kernel>,
    ) -> Result<Self> {
        let config = *layer.config();
        let image = how.input.map_or_else(|| nominal_image(&config), |shape| [shape.height(), shape.width()]);
        if let Some(input) = how.input {
            config.output_shape(input)?;
        }
        // Training goes over groups one by one.
        let family = (how.trainable && !config.is_depthwise()).then_some(Family::Shared);
        let plan = Plan::choose(&config, image, traits, how.precision, family, forced)?;
        let params = layer.params();
        let squash = config.attention().and_then(dyconv_core::Attention::squash);
        let head = params.attention.clone().zip(squash);
        Ok(Self {
            config,
            how: *how,
            isa,
            packed: Packed::new(layer, plan.kernel.family(), traits, how.precision, !how.trainable)?,
            head: head.map(|(head, squash)| Head { fc1: head.fc1, fc2: head.fc2, squash }),
            norm: params.batch_norm.clone().filter(|_| how.trainable),
            training: match how.trainable {
                true => Some(Training::new(layer, how.input, isa, traits, forced)?),
                false => None,
            },
            traits,
            forced,
            plans: Mutex::new(vec![Arc::new(plan)]),
        })
    }

    /// The plan for an image size: the one in use, or another that reads the same packing.
    pub(crate) fn plan(&self, image: [usize; 2]) -> Result<Arc<Plan>> {
        self.plan_as(&self.config, image)
    }

    /// The plan where the layer is configured in another way that has the same packing: with another padding.
    pub(crate) fn plan_as(&self, config: &Config, image: [usize; 2]) -> Result<Arc<Plan>> {
        // Plans come and go whole, so a panic elsewhere leaves good ones.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.iter().find(|plan| plan.geometry.input == image && plan.config == *config) {
            return Ok(plan.clone());
        }
        let family = Some(self.packed.family);
        let (traits, precision) = (self.traits, self.how.precision);
        let plan = Arc::new(Plan::choose(config, image, traits, precision, family, self.forced)?);
        if plans.len() == PLANS {
            plans.remove(0);
        }
        plans.push(plan.clone());
        Ok(plan)
    }

    /// Whether batch norm is a pass of its own.
    pub(crate) fn normalizes(&self) -> bool {
        self.norm.is_some()
    }

    /// Batch norm as it is, with given statistics or the running ones, into `affine`.
    pub(crate) fn affine(&self, statistics: Option<&Statistics>, affine: &mut Affine) {
        affine.clear();
        let Some(norm) = &self.norm else { return };
        let epsilon = self.config.batch_norm().map_or(0.0, |norm| norm.epsilon);
        for c in 0..self.config.out_channels() {
            let (mean, variance) = match statistics {
                Some([mean, variance]) => (mean[c], variance[c]),
                None => (f64::from(norm.running_mean[c]), f64::from(norm.running_var[c])),
            };
            affine.push(mean, f64::from(norm.weight[c]) / (variance + epsilon).sqrt(), norm.bias[c]);
        }
    }

    /// The statistics that inference normalises by.
    pub(crate) fn running(&self) -> Option<Statistics> {
        let norm = self.norm.as_ref()?;
        let wide = |data: &[f32]| data.iter().copied().map(f64::from).collect();
        Some([wide(&norm.running_mean), wide(&norm.running_var)])
    }

    /// Bytes that the prepared layer holds.
    pub(crate) fn bytes(&self) -> usize {
        let mirror = self.training.as_ref().map_or(0, |training| training.mirror.bytes());
        self.packed.bytes() + self.head.as_ref().map_or(0, Head::bytes) + mirror
    }
}

impl Prepared for SimdLayer {
    fn config(&self) -> &Config {
        &self.config
    }

    fn how(&self) -> &Prepare {
        &self.how
    }
}

/// An image to choose a packing by where the caller names none: 14 × 14, or what the kernel needs.
fn nominal_image(config: &Config) -> [usize; 2] {
    config.reach().map(|reach| reach.max(14))
}
