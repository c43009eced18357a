"""ONNX Runtime's CPU provider: every graph of `onnx_graph`, input and output bound before the call."""

import numpy as np
import onnxruntime

from . import Form
from .onnx_graph import graphs


class Engine:
    def __init__(self, threads, compiled):
        self.threads, self.version = threads, onnxruntime.__version__

    def forms(self, layer):
        for variant, mode, layout, make in graphs(layer):
            if variant == "conv_transposed":
                continue  # its transpositions stay: there is no channels-last convolution on CPUs
            yield Form(variant, mode, layout, lambda make=make, layout=layout: self.build(layer, make(layer, layout), layout))

    def build(self, layer, model, layout):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        x = layer.x if layout == "nchw" else np.ascontiguousarray(layer.x.transpose(0, 2, 3, 1))
        names = session.get_inputs()[0].name, session.get_outputs()[0].name
        output = onnxruntime.OrtValue.ortvalue_from_numpy(session.run(None, {names[0]: x})[0])
        binding = session.io_binding()
        binding.bind_ortvalue_input(names[0], onnxruntime.OrtValue.ortvalue_from_numpy(x))
        binding.bind_ortvalue_output(names[1], output)

        def call():
            session.run_with_iobinding(binding)
            return output

        def fetch(value):
            y = value.numpy()
            return y if layout == "nchw" else y.transpose(0, 3, 1, 2)

        return call, fetch
