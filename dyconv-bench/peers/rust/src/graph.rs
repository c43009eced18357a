//! Builds an ONNX graph of one layer: nodes and constants, every value called by the name it was made with.

use prost::Message;

use crate::layer::{Layer, Layout};
use crate::onnx::{Attribute, Graph, Model, Node, OperatorSet, Tensor, ValueInfo};

const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// The name of a value.
pub type Name = String;

/// A graph in the making; the layer's input is called `x`.
pub struct Builder<'a> {
    pub layer: &'a Layer,
    graph: Graph,
}

impl<'a> Builder<'a> {
    pub fn new(layer: &'a Layer) -> Self {
        Self { layer, graph: Graph { name: "layer".into(), ..Graph::default() } }
    }

    pub fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Name {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        self.graph.initializer.push(Tensor::floats(name, shape, values));
        name.into()
    }

    pub fn node(&mut self, op: &str, inputs: &[&str], name: &str, attributes: Vec<Attribute>) -> Name {
        self.nodes(op, inputs, &[name.into()], attributes);
        name.into()
    }

    /// A node with several outputs.
    fn nodes(&mut self, op: &str, inputs: &[&str], outputs: &[Name], attribute: Vec<Attribute>) {
        self.graph.node.push(Node {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: outputs.into(),
            name: outputs[0].clone(),
            op_type: op.into(),
            attribute,
        });
    }

    pub fn reshape(&mut self, value: &str, name: &str, shape: &[usize]) -> Name {
        let integers = format!("{name}_shape");
        self.graph.initializer.push(Tensor::integers(&integers, shape));
        self.node("Reshape", &[value, &integers], name, Vec::new())
    }

    /// One value per sample.
    pub fn split(&mut self, value: &str, name: &str) -> Vec<Name> {
        let names: Vec<Name> = (0..self.layer.batch).map(|n| format!("{name}_{n}")).collect();
        self.nodes("Split", &[value], &names, vec![Attribute::integer("axis", 0)]);
        names
    }

    /// `inputs` are image, kernels and biases.
    pub fn conv(&mut self, inputs: [&str; 3], name: &str, groups: usize) -> Name {
        let w = &self.layer.workload;
        let attributes = vec![
            Attribute::integer("group", groups),
            Attribute::integers("kernel_shape", &[w.kernel; 2]),
            Attribute::integers("strides", &[w.stride; 2]),
            Attribute::integers("pads", &[w.padding(); 4]),
        ];
        self.node("Conv", &inputs, name, attributes)
    }

    /// π `[N, K]` of the input.
    pub fn attention(&mut self, layout: Layout) -> Name {
        let layer = self.layer;
        let (inputs, hidden, experts) =
            (layer.workload.in_channels, layer.workload.hidden, layer.workload.experts);
        let pooled = match layout {
            Layout::Nchw => {
                let pool = self.node("GlobalAveragePool", &["x"], "pool", Vec::new());
                self.node("Flatten", &[&pool], "pooled", Vec::new())
            }
            Layout::Nhwc => {
                let attributes =
                    vec![Attribute::integers("axes", &[1, 2]), Attribute::integer("keepdims", 0)];
                self.node("ReduceMean", &["x"], "pooled", attributes)
            }
        };
        let sums = self.dense(&pooled, "fc1", [hidden, inputs], &layer.fc1_weight, &layer.fc1_bias);
        let values = self.node("Relu", &[&sums], "hidden", Vec::new());
        let logits = self.dense(&values, "fc2", [experts, hidden], &layer.fc2_weight, &layer.fc2_bias);
        self.node("Softmax", &[&logits], "pi", vec![Attribute::integer("axis", 1)])
    }

    fn dense(&mut self, x: &str, name: &str, shape: [usize; 2], weight: &[f32], bias: &[f32]) -> Name {
        let weight = self.constant(&format!("{name}_weight"), &shape, weight);
        let bias = self.constant(&format!("{name}_bias"), &shape[..1], bias);
        self.node("Gemm", &[x, &weight, &bias], name, vec![Attribute::integer("transB", 1)])
    }

    /// One kernel and one bias per sample, still flat; `experts` are the kernels in the order that is wanted.
    pub fn aggregate(&mut self, pi: &str, experts: &[f32]) -> [Name; 2] {
        let (layer, k) = (self.layer, self.layer.workload.experts);
        let rows = self.constant("experts", &[k, experts.len() / k], experts);
        let biases = self.constant("biases", &[k, layer.workload.out_channels], &layer.bias);
        [(rows, "kernels"), (biases, "mixed_biases")]
            .map(|(rows, name)| self.node("MatMul", &[pi, &rows], name, Vec::new()))
    }

    /// The finished model's bytes.
    pub fn model(mut self, output: &str, layout: Layout) -> Vec<u8> {
        let (w, batch) = (&self.layer.workload, self.layer.batch);
        self.graph.input = vec![ValueInfo::floats("x", &layout.shape(w.input_shape(batch)))];
        self.graph.output = vec![ValueInfo::floats(output, &layout.shape(w.output_shape(batch)))];
        let opset = OperatorSet { domain: Some(String::new()), version: Some(OPSET) };
        Model { ir_version: IR_VERSION, graph: Some(self.graph), opset_import: vec![opset] }.encode_to_vec()
    }
}
