//! Compute pipelines, made when first needed and kept: there are as many as there are kernels in
//! [`Kernel::all`], whose shaders the tests validate. No other kernel gets one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use dyconv_core::Result;

use crate::context::Context;
use crate::kernel::{Access, Kernel};
use crate::memory::device_error;

/// The pipelines made so far.
#[derive(Debug, Default)]
pub(crate) struct Pipelines(Mutex<HashMap<Kernel, Pipeline>>);

/// A pipeline and what its bind groups look like.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) compute: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

impl Pipelines {
    /// Pipelines made so far.
    pub(crate) fn made(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn get(&self, context: &Context, kernel: Kernel) -> Result<Pipeline> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = made.get(&kernel) {
            return Ok(pipeline.clone());
        }
        let what = format!("compiling {kernel}");
        if !Kernel::all().any(|known| known == kernel) {
            return Err(device_error(&what, &"it isn't in Kernel::all, so that no test has validated it"));
        }
        let pipeline = context.guarded(&what, None, || Pipeline::new(&context.device, kernel))?;
        made.insert(kernel, pipeline.clone());
        Ok(pipeline)
    }
}

impl Pipeline {
    fn new(device: &wgpu::Device, kernel: Kernel) -> Self {
        let label = Some(kernel.entry_point());
        let uniform = std::iter::once(wgpu::BufferBindingType::Uniform);
        let storage = kernel
            .storage()
            .iter()
            .map(|&access| wgpu::BufferBindingType::Storage { read_only: access == Access::Read });
        let entries: Vec<_> = (0..)
            .zip(uniform.chain(storage))
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            })
            .collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(kernel.wgsl().into()),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let compute = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.entry_point()),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Kernels write workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Self { compute, layout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::Tile;
    use crate::{WgpuBackend, WgpuBuilder};

    /// How many pipelines a device of this kind gives, of how many kernels; `None` without an adapter.
    fn compiled(builder: WgpuBuilder) -> Option<[usize; 2]> {
        let backend = match builder.build() {
            Ok(backend) => backend,
            Err(error) => {
                assert_ne!(std::env::var("DYCONV_REQUIRE_GPU").as_deref(), Ok("1"), "{error}");
                println!("SKIPPED: {error}");
                return None;
            }
        };
        let context = backend.context();
        let fits = |kernel: &Kernel| match kernel {
            Kernel::Convolve(convolution) => convolution.tile.fits(&context.limits),
            _ => true,
        };
        let has_features = |kernel: &Kernel| context.device.features().contains(kernel.features());
        for kernel in Kernel::all().filter(|kernel| fits(kernel) && has_features(kernel)) {
            context.pipelines.get(context, kernel).unwrap_or_else(|error| panic!("{kernel}: {error}"));
        }
        Some([context.pipelines.made(), Kernel::all().count()])
    }

    #[test]
    fn webgpus_default_limits_are_enough_for_every_kernel_that_needs_no_feature() {
        let Some([made, _]) = compiled(WgpuBackend::builder().default_limits(true)) else { return };
        let is_deep = |kernel: &Kernel| matches!(kernel, Kernel::Convolve(c) if c.tile == Tile::DEEP);
        let plain = |kernel: &Kernel| kernel.features().is_empty() && !is_deep(kernel);
        let wanted = Kernel::all().filter(plain).count();
        assert!(made >= wanted, "{made} of {wanted}");
    }

    #[test]
    fn the_adapter_compiles_every_kernel() {
        let Some([made, all]) = compiled(WgpuBackend::builder().default_limits(false)) else { return };
        println!("{made} of {all} kernels");
        assert!(made > all / 2, "{made} of {all}");
    }
}
