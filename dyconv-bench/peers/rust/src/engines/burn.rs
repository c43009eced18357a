//! burn's tensors on its CPU backend, flex.

use burn_tensor::activation::{relu, softmax};
use burn_tensor::module::conv2d;
use burn_tensor::ops::ConvOptions;
use burn_tensor::{Device, Tensor, TensorData};

use super::{Engine, Form, Ready, Result, locked_version, ready};
use crate::layer::{Layer, Layout, Mode};
use crate::workload::Workload;

pub struct Burn {
    device: Device,
}

impl Burn {
    pub fn new() -> Self {
        Self { device: Device::flex() }
    }
}

impl Engine for Burn {
    fn name(&self) -> &'static str {
        "burn"
    }

    fn version(&self) -> &'static str {
        locked_version("burn-tensor")
    }

    fn forms<'a>(&'a self, layer: &'a Layer) -> Vec<Form<'a>> {
        use Layout::{Nchw, Nhwc};
        use Mode::{Dynamic, Static};
        let form = |variant, mode, layout, forward: Forward| Form {
            variant,
            mode,
            layout,
            build: Box::new(move || built(Net::new(layer, mode, layout, &self.device), forward)),
        };
        let mut forms = vec![form("conv", Static, Nchw, Net::grouped)];
        if layer.batch == 1 {
            forms.push(form("conv", Dynamic, Nchw, Net::grouped));
        } else {
            forms.push(form("conv_groups", Dynamic, Nchw, Net::grouped));
            forms.push(form("conv_split", Dynamic, Nchw, Net::split));
        }
        if layer.workload.is_pointwise() {
            for mode in [Static, Dynamic] {
                forms.push(form("matmul", mode, Nchw, Net::pixels_last));
                forms.push(form("matmul", mode, Nhwc, Net::channels_last));
            }
        }
        forms
    }
}

/// Computes the layer; its result has one dimension for all that a form made of the image.
type Forward = fn(&Net) -> Tensor<1>;

fn built(net: Net, forward: Forward) -> Result<Box<dyn Ready>> {
    ready(move || Ok(forward(&net)), |output| Ok(output.clone().into_data().try_to_vec::<f32>()?))
}

/// A dense layer's weight, as a row is multiplied by it, and its bias.
struct Dense(Tensor<2>, Tensor<2>);

impl Dense {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.0.clone()) + self.1.clone()
    }
}

/// The layer's parameters and input.
struct Net {
    workload: Workload,
    batch: usize,
    layout: Layout,
    x: Tensor<4>,
    /// The static layer has none.
    head: Option<[Dense; 2]>,
    /// `[experts, numbers of a kernel]`; of the static layer, one.
    experts: Tensor<2>,
    /// `[experts, out_channels]`
    biases: Tensor<2>,
}

impl Net {
    fn new(layer: &Layer, mode: Mode, layout: Layout, device: &Device) -> Self {
        let w = &layer.workload;
        let tensor = |values: &[f32], shape: [usize; 2]| {
            let values = values[..shape[0] * shape[1]].to_vec();
            Tensor::<2>::from_data(TensorData::new(values, shape), device)
        };
        let dense = |weight: &[f32], bias: &[f32], inputs| {
            Dense(tensor(weight, [bias.len(), inputs]).transpose(), tensor(bias, [1, bias.len()]))
        };
        let head = || {
            let first = dense(&layer.fc1_weight, &layer.fc1_bias, w.in_channels);
            [first, dense(&layer.fc2_weight, &layer.fc2_bias, w.hidden)]
        };
        let experts = if mode == Mode::Static { 1 } else { w.experts };
        let image = TensorData::new(layer.input(layout), layout.shape(w.input_shape(layer.batch)));
        Self {
            workload: w.clone(),
            batch: layer.batch,
            layout,
            x: Tensor::from_data(image, device),
            head: (mode == Mode::Dynamic).then(head),
            experts: tensor(&layer.kernels(layout), [experts, w.kernel_len()]),
            biases: tensor(&layer.bias, [experts, w.out_channels]),
        }
    }

    /// How many kernels there are: one for all samples, or one for each; and these, and as many rows of biases.
    fn kernels(&self) -> (usize, Tensor<2>, Tensor<2>) {
        let (experts, biases) = (self.experts.clone(), self.biases.clone());
        match &self.head {
            None => (1, experts, biases),
            Some([first, second]) => {
                let pi = softmax(second.forward(relu(first.forward(self.pooled()))), 1);
                (self.batch, pi.clone().matmul(experts), pi.matmul(biases))
            }
        }
    }

    /// `[batch, in_channels]`
    fn pooled(&self) -> Tensor<2> {
        let (w, pixels) = (&self.workload, self.workload.extent * self.workload.extent);
        let means = match self.layout {
            Layout::Nchw => self.x.clone().reshape([self.batch, w.in_channels, pixels]).mean_dim(2),
            Layout::Nhwc => self.x.clone().reshape([self.batch, pixels, w.in_channels]).mean_dim(1),
        };
        means.reshape([self.batch, w.in_channels])
    }

    /// Samples with kernels of their own as groups of one convolution.
    fn grouped(&self) -> Tensor<1> {
        let w = &self.workload;
        let (count, kernels, biases) = self.kernels();
        let x = self.x.clone().reshape([self.batch / count, count * w.in_channels, w.extent, w.extent]);
        self.conv(x, kernels, biases, count).flatten(0, 3)
    }

    /// One convolution per sample.
    fn split(&self) -> Tensor<1> {
        let (count, kernels, biases) = self.kernels();
        let of_sample = |n| {
            let [kernel, bias] = [&kernels, &biases].map(|rows| rows.clone().slice([n..n + 1]));
            self.conv(self.x.clone().slice([n..n + 1]), kernel, bias, 1)
        };
        Tensor::cat((0..count).map(of_sample).collect(), 0).flatten(0, 3)
    }

    fn conv(&self, x: Tensor<4>, kernels: Tensor<2>, biases: Tensor<2>, count: usize) -> Tensor<4> {
        let w = &self.workload;
        let options = ConvOptions::new([w.stride; 2], [w.padding(); 2], [1, 1], w.groups * count);
        conv2d(
            x,
            kernels.reshape(w.kernel_shape(count)),
            Some(biases.reshape([count * w.out_channels])),
            options,
        )
    }

    /// A pointwise layer as a matrix product, in NCHW.
    fn pixels_last(&self) -> Tensor<1> {
        let w = &self.workload;
        let (count, kernels, biases) = self.kernels();
        let pixels = self.x.clone().reshape([self.batch, w.in_channels, w.extent * w.extent]);
        let product = kernels.reshape([count, w.out_channels, w.in_channels]).matmul(pixels);
        (product + biases.reshape([count, w.out_channels, 1])).flatten(0, 2)
    }

    /// The same in NHWC.
    fn channels_last(&self) -> Tensor<1> {
        let w = &self.workload;
        let (count, kernels, biases) = self.kernels();
        let pixels = self.x.clone().reshape([self.batch, w.extent * w.extent, w.in_channels]);
        let product = pixels.matmul(kernels.reshape([count, w.in_channels, w.out_channels]));
        (product + biases.reshape([count, 1, w.out_channels])).flatten(0, 2)
    }
}
