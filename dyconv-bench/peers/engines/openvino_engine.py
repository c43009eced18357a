"""OpenVINO's CPU plugin: every graph of `onnx_graph`, tensors set before the call, float32 throughout."""

import numpy as np
import openvino

from . import Form
from .onnx_graph import graphs


class Engine:
    def __init__(self, threads, compiled):
        self.version = openvino.__version__
        self.core = openvino.Core()
        self.options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # else it computes in bf16 where the CPU can
            "ENABLE_CPU_PINNING": False,  # whoever starts us has pinned this process
        }

    def forms(self, layer):
        for variant, mode, layout, make in graphs(layer):
            yield Form(variant, mode, layout, lambda make=make, layout=layout: self.build(layer, make(layer, layout), layout))

    def build(self, layer, model, layout):
        compiled = self.core.compile_model(self.core.read_model(model), "CPU", self.options)
        request = compiled.create_infer_request()
        x = layer.x if layout == "nchw" else np.ascontiguousarray(layer.x.transpose(0, 2, 3, 1))
        request.set_input_tensor(openvino.Tensor(x))

        def call():
            request.infer()
            return request

        def fetch(request):
            y = request.get_output_tensor(0).data
            return y if layout == "nchw" else y.transpose(0, 3, 1, 2)

        return call, fetch
