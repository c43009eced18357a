//! candle's tensors.

use candle_core::{Device, Tensor};

use super::{Engine, Form, Ready, Result, locked_version, ready};
use crate::layer::{Layer, Layout, Mode};
use crate::workload::Workload;

pub struct Candle;

impl Candle {
    /// # Errors
    /// Where candle wouldn't keep to `threads`: it reads their number from the environment.
    pub fn new(threads: usize) -> Result<Self> {
        match candle_core::utils::get_num_threads() {
            found if found == threads => Ok(Self),
            found => {
                Err(format!("candle would use {found} threads: set RAYON_NUM_THREADS to {threads}, too")
                    .into())
            }
        }
    }
}

impl Engine for Candle {
    fn name(&self) -> &'static str {
        "candle"
    }

    fn version(&self) -> &'static str {
        locked_version("candle-core")
    }

    fn forms<'a>(&'a self, layer: &'a Layer) -> Vec<Form<'a>> {
        use Layout::{Nchw, Nhwc};
        use Mode::{Dynamic, Static};
        let form = |variant, mode, layout, forward: Forward| Form {
            variant,
            mode,
            layout,
            build: Box::new(move || built(Net::new(layer, mode, layout)?, forward)),
        };
        let w = &layer.workload;
        let mut forms = vec![form("conv", Static, Nchw, Net::grouped)];
        if layer.batch == 1 {
            forms.push(form("conv", Dynamic, Nchw, Net::grouped));
        } else {
            forms.push(form("conv_groups", Dynamic, Nchw, Net::grouped));
            forms.push(form("conv_split", Dynamic, Nchw, Net::split));
        }
        for mode in [Static, Dynamic] {
            if w.is_pointwise() {
                forms.push(form("matmul", mode, Nchw, Net::pixels_last));
                forms.push(form("matmul", mode, Nhwc, Net::channels_last));
            }
            let depthwise = w.groups == w.in_channels && w.groups == w.out_channels;
            if depthwise && w.stride == 1 {
                forms.push(form("taps", mode, Nchw, Net::taps));
            }
        }
        forms
    }
}

type Forward = fn(&Net) -> candle_core::Result<Tensor>;

fn built(net: Net, forward: Forward) -> Result<Box<dyn Ready>> {
    ready(move || Ok(forward(&net)?), |output| Ok(output.flatten_all()?.to_vec1()?))
}

/// A dense layer's weight, as a row is multiplied by it, and its bias.
struct Dense(Tensor, Tensor);

impl Dense {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.0)?.broadcast_add(&self.1)
    }
}

/// The layer's parameters and input.
struct Net {
    workload: Workload,
    batch: usize,
    layout: Layout,
    x: Tensor,
    /// The static layer has none.
    head: Option<[Dense; 2]>,
    /// `[experts, numbers of a kernel]`; of the static layer, one.
    experts: Tensor,
    /// `[experts, out_channels]`
    biases: Tensor,
}

impl Net {
    fn new(layer: &Layer, mode: Mode, layout: Layout) -> candle_core::Result<Self> {
        let w = &layer.workload;
        let tensor = |values: &[f32], shape: [usize; 2]| {
            Tensor::from_slice(&values[..shape[0] * shape[1]], &shape, &Device::Cpu)
        };
        let dense = |weight: &[f32], bias: &[f32], inputs| -> candle_core::Result<Dense> {
            Ok(Dense(tensor(weight, [bias.len(), inputs])?.t()?, tensor(bias, [1, bias.len()])?))
        };
        let head = || -> candle_core::Result<[Dense; 2]> {
            let first = dense(&layer.fc1_weight, &layer.fc1_bias, w.in_channels)?;
            Ok([first, dense(&layer.fc2_weight, &layer.fc2_bias, w.hidden)?])
        };
        let experts = if mode == Mode::Static { 1 } else { w.experts };
        Ok(Self {
            workload: w.clone(),
            batch: layer.batch,
            layout,
            x: Tensor::from_vec(
                layer.input(layout),
                &layout.shape(w.input_shape(layer.batch)),
                &Device::Cpu,
            )?,
            head: (mode == Mode::Dynamic).then(head).transpose()?,
            experts: tensor(&layer.kernels(layout), [experts, w.kernel_len()])?,
            biases: tensor(&layer.bias, [experts, w.out_channels])?,
        })
    }

    /// How many kernels there are: one for all samples, or one for each; and these, and as many rows of biases.
    fn kernels(&self) -> candle_core::Result<(usize, Tensor, Tensor)> {
        let (experts, biases) = (&self.experts, &self.biases);
        match &self.head {
            None => Ok((1, experts.clone(), biases.clone())),
            Some([first, second]) => {
                let powers = second.forward(&first.forward(&self.pooled()?)?.relu()?)?.exp()?;
                let pi = powers.broadcast_div(&powers.sum_keepdim(1)?)?;
                Ok((self.batch, pi.matmul(experts)?, pi.matmul(biases)?))
            }
        }
    }

    /// `[batch, in_channels]`
    fn pooled(&self) -> candle_core::Result<Tensor> {
        match self.layout {
            Layout::Nchw => self.x.flatten_from(2)?.mean(2),
            Layout::Nhwc => self.x.flatten(1, 2)?.mean(1),
        }
    }

    /// Samples with kernels of their own as groups of one convolution.
    fn grouped(&self) -> candle_core::Result<Tensor> {
        let w = &self.workload;
        let (count, kernels, biases) = self.kernels()?;
        let x = self.x.reshape((self.batch / count, count * w.in_channels, w.extent, w.extent))?;
        self.conv(&x, &kernels, &biases, count)
    }

    /// One convolution per sample.
    fn split(&self) -> candle_core::Result<Tensor> {
        let (count, kernels, biases) = self.kernels()?;
        let of_sample =
            |n| self.conv(&self.x.narrow(0, n, 1)?, &kernels.narrow(0, n, 1)?, &biases.narrow(0, n, 1)?, 1);
        Tensor::cat(&(0..count).map(of_sample).collect::<candle_core::Result<Vec<_>>>()?, 0)
    }

    fn conv(
        &self,
        x: &Tensor,
        kernels: &Tensor,
        biases: &Tensor,
        count: usize,
    ) -> candle_core::Result<Tensor> {
        let w = &self.workload;
        let kernels = kernels.reshape(&w.kernel_shape(count))?;
        let y = x.conv2d(&kernels, w.padding(), w.stride, 1, w.groups * count)?;
        y.broadcast_add(&biases.reshape((1, count * w.out_channels, 1, 1))?)
    }

    /// A pointwise layer as a matrix product, in NCHW.
    fn pixels_last(&self) -> candle_core::Result<Tensor> {
        let w = &self.workload;
        let (count, kernels, biases) = self.kernels()?;
        let kernels = kernels.reshape((count, w.out_channels, w.in_channels))?;
        let product = kernels.broadcast_matmul(&self.x.flatten_from(2)?)?;
        product.broadcast_add(&biases.reshape((count, w.out_channels, 1))?)
    }

    /// The same in NHWC.
    fn channels_last(&self) -> candle_core::Result<Tensor> {
        let w = &self.workload;
        let (count, kernels, biases) = self.kernels()?;
        let kernels = kernels.reshape((count, w.in_channels, w.out_channels))?;
        let product = self.x.flatten(1, 2)?.broadcast_matmul(&kernels)?;
        product.broadcast_add(&biases.reshape((count, 1, w.out_channels))?)
    }

    /// A depthwise layer tap by tap: the image is shifted, and multiplied by the tap's weights.
    fn taps(&self) -> candle_core::Result<Tensor> {
        let (w, out) = (&self.workload, self.workload.out_extent());
        let (count, kernels, biases) = self.kernels()?;
        let kernels = kernels.reshape((count, w.out_channels, w.kernel, w.kernel))?;
        let pad = w.padding();
        let padded = self.x.pad_with_zeros(2, pad, pad)?.pad_with_zeros(3, pad, pad)?;
        let mut sum = biases.reshape((count, w.out_channels, 1, 1))?;
        for (i, j) in (0..w.kernel * w.kernel).map(|tap| (tap / w.kernel, tap % w.kernel)) {
            let shifted = padded.narrow(2, i, out)?.narrow(3, j, out)?;
            let weights = kernels.narrow(2, i, 1)?.narrow(3, j, 1)?;
            sum = shifted.broadcast_mul(&weights)?.broadcast_add(&sum)?;
        }
        Ok(sum)
    }
}
