//! The convolution with one thread per output, on the same adapter as ours: what a tiled one is worth.
//!
//! It is handed aggregated kernels for nothing and only convolves; ours aggregates, too, in the time that it is
//! compared with.

use bytemuck::{Pod, Zeroable};
use dyconv_core::{Accuracy, Backend, Call, Config, Error, Layout, Prepare, Result, Shape, Tensor};
use dyconv_wgpu::WgpuBackend;
use wgpu::util::{BufferInitDescriptor, DeviceExt, DownloadBuffer};

use crate::problem::{Problem, worst_difference};
use crate::timing::{Budget, Timing};

/// `Params` of naive.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Params {
    outputs: u32,
    output_channels: u32,
    output_extent: [u32; 2],
    depth: u32,
    rows: u32,
    input_extent: [u32; 2],
    kernel: [u32; 2],
    stride: [u32; 2],
    dilation: [u32; 2],
    padding: [i32; 2],
    /// Of samples, channels and pixels.
    input_strides: [u32; 3],
    output_strides: [u32; 3],
}

/// A dispatch may not be longer in one dimension, by WebGPU's default limits.
const MOST_WORKGROUPS: u32 = 65535;

/// Threads of a workgroup, as in naive.wgsl.
const THREADS: u32 = 64;

/// Times the naive kernel on a problem, with the π that our layer computes, and holds its output against ours.
///
/// # Errors
/// Where a tensor is too large for one binding of the device, the device fails, or the outputs differ by more than the
/// tolerance of case files allows the two plans together.
pub fn time(backend: &WgpuBackend, problem: &Problem, budget: Budget) -> Result<Timing> {
    let ours = Ours::of(backend, problem)?;
    let naive = Naive::new(backend, problem, &ours.pi)?;
    naive.run()?;
    check(&naive.output(ours.output.shape(), ours.output.layout())?, &ours)?;
    Timing::collect(budget, || naive.run())
}

/// What our layer makes of the problem.
struct Ours {
    output: Tensor,
    pi: Tensor,
    accuracy: Accuracy,
}

impl Ours {
    fn of(backend: &WgpuBackend, problem: &Problem) -> Result<Self> {
        let layer = backend.prepare(&problem.layer, &Prepare::default())?;
        let mut stream = backend.stream()?;
        let x = backend.upload(&mut stream, problem.input.view())?;
        let ran = backend.forward(&mut stream, &layer, &Call::new(&x).return_attention(true))?;
        let missing =
            || Error::Device { what: "a call that asked for π".into(), reason: "there is none".into() };
        Ok(Self {
            output: backend.download(&mut stream, &ran.output)?,
            pi: backend.download(&mut stream, &ran.attention.ok_or_else(missing)?)?,
            accuracy: backend.plan(&layer, problem.input.shape())?.accuracy,
        })
    }
}

/// Within what is allowed to each.
fn check(naive: &Tensor, ours: &Ours) -> Result<()> {
    let worst = worst_difference(naive.view(), ours.output.view());
    let magnitude = ours.output.data().iter().fold(0.0, |max: f64, &x| max.max(f64::from(x).abs()));
    let allowed: f64 = [Accuracy::Gpu, ours.accuracy]
        .map(|accuracy| accuracy.tolerance())
        .iter()
        .map(|tolerance| tolerance.absolute + tolerance.relative * magnitude)
        .sum();
    if worst <= allowed {
        return Ok(());
    }
    let reason = format!("its output differs from ours by {worst:e}, and {allowed:e} is allowed");
    Err(Error::Device { what: "the naive kernel".into(), reason })
}

/// The kernel with everything that it binds.
struct Naive<'a> {
    backend: &'a WgpuBackend,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    output: wgpu::Buffer,
    workgroups: [u32; 2],
}

impl<'a> Naive<'a> {
    fn new(backend: &'a WgpuBackend, problem: &Problem, pi: &Tensor) -> Result<Self> {
        let device = backend.device();
        let config = problem.layer.config();
        let output = config.output_shape(problem.input.shape())?;
        let [kernels, bias] = aggregated(problem, pi);
        let largest =
            [problem.input.data().len(), kernels.len(), output.len()].into_iter().max().unwrap_or(0);
        let (bytes, most) = (4 * largest as u64, device.limits().max_storage_buffer_binding_size);
        if bytes > most {
            let limit = "bytes of the naive kernel's largest tensor".into();
            return Err(Error::LimitExceeded { limit, value: bytes, max: most });
        }
        let filled = |usage, contents: &[u8]| {
            device.create_buffer_init(&BufferInitDescriptor { label: Some("naive"), contents, usage })
        };
        let storage = |data: &[f32]| filled(wgpu::BufferUsages::STORAGE, bytemuck::cast_slice(data));
        let params = params(config, problem.input.shape(), output)?;
        let written = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("naive"),
            size: 4 * output.len() as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let buffers = [
            filled(wgpu::BufferUsages::UNIFORM, bytemuck::bytes_of(&params)),
            storage(problem.input.data()),
            storage(&kernels),
            storage(&bias),
            written.clone(),
        ];
        let pipeline = pipeline(device);
        let entries: Vec<_> = (0..)
            .zip(&buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("naive"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let count = params.outputs.div_ceil(THREADS).max(1);
        let row = count.min(MOST_WORKGROUPS);
        Ok(Self { backend, pipeline, group, output: written, workgroups: [row, count.div_ceil(row)] })
    }

    /// One run; its time by the device's clock.
    fn run(&self) -> Result<std::time::Duration> {
        let seconds = self.backend.time_pass(|pass| {
            let [x, y] = self.workgroups;
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            pass.dispatch_workgroups(x, y, 1);
        })?;
        Ok(std::time::Duration::from_secs_f64(seconds))
    }

    fn output(&self, shape: Shape, layout: Layout) -> Result<Tensor> {
        let failed =
            |reason: String| Error::Device { what: "reading the naive kernel's output".into(), reason };
        let (device, queue) = (self.backend.device(), self.backend.queue());
        let (send, receive) = std::sync::mpsc::channel();
        DownloadBuffer::read_buffer(device, queue, &self.output.slice(..), move |read| drop(send.send(read)));
        device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| failed(error.to_string()))?;
        let read = receive.recv().map_err(|error| failed(error.to_string()))?;
        let read = read.map_err(|error| failed(error.to_string()))?;
        Tensor::new(shape, layout, bytemuck::cast_slice(&read).to_vec())
    }
}

fn pipeline(device: &wgpu::Device) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::include_wgsl!("naive.wgsl"));
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("naive"),
        layout: None,
        module: &module,
        entry_point: Some("naive"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    })
}

/// W~ and b~ of every sample: [N][Cout][Cin/G][tap] and [N][Cout].
fn aggregated(problem: &Problem, pi: &Tensor) -> [Vec<f32>; 2] {
    let (config, params) = (problem.layer.config(), problem.layer.params());
    let mix = |experts: &[f32], len: usize| {
        let mut mixed = Vec::new();
        for weights in pi.data().chunks_exact(config.experts()) {
            let start = mixed.len();
            mixed.resize(start + len, 0.0);
            for (&weight, expert) in weights.iter().zip(experts.chunks_exact(len)) {
                mixed[start..].iter_mut().zip(expert).for_each(|(sum, &x)| *sum += weight * x);
            }
        }
        mixed
    };
    let none = vec![0.0; config.experts() * config.out_channels()];
    let bias = params.bias.as_ref().unwrap_or(&none);
    [mix(&params.weight, config.expert_len()), mix(bias, config.out_channels())]
}

fn params(config: &Config, input: Shape, output: Shape) -> Result<Params> {
    let geometry = config.geometry(input.height(), input.width())?;
    // A workload's numbers are small.
    let pair = |pair: [usize; 2]| pair.map(|extent| extent as u32);
    let strides = |shape: Shape| {
        let [sample, channel, _, pixel] = shape.strides(config.layout());
        [sample, channel, pixel].map(|stride| stride as u32)
    };
    Ok(Params {
        outputs: output.len() as u32,
        output_channels: output.channels() as u32,
        output_extent: pair(geometry.output),
        depth: config.in_channels_per_group() as u32,
        rows: config.out_channels_per_group() as u32,
        input_extent: pair(geometry.input),
        kernel: pair(config.kernel_size()),
        stride: pair(config.stride()),
        dilation: pair(config.dilation()),
        padding: geometry.before.map(|pad| pad as i32),
        input_strides: strides(input),
        output_strides: strides(output),
    })
}
