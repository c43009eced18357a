"""Times dyconv's layers in PyTorch on the GPU of this machine, and writes one JSON file.

Three forms of each layer: `static`, a convolution with one kernel; `grouped`, the dynamic layer as users write it,
every sample's kernel a group of one convolution; and its parts without the convolution, `attention`. Each with cuDNN's
TF32 off and on, in both memory formats. A call is timed from the host until its result exists (`call_us`), and as
one of several queued behind each other, by the device's clock (`queued_us`): medians, in microseconds.

Without PyTorch, or without the device, the file says so, and that is no failure.
"""

import argparse
import json
import statistics
import time

QUEUED = 10
"""Calls behind each other."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", required=True, metavar="FILE", help="what `dyconv workloads NAMES --json` printed")
    parser.add_argument("--batch", type=int, required=True, metavar="N", help="measured beside each layer's own batches")
    parser.add_argument("--time", type=float, default=1000, metavar="MS", help="for the calls of one form")
    parser.add_argument("--device", choices=["cuda", "any"], default="cuda", help="any: the processor, where there is no GPU")
    parser.add_argument("--out", required=True, metavar="FILE")
    args = parser.parse_args()
    with open(args.workloads, encoding="utf-8") as file:
        workloads = json.load(file)
    body = measure(workloads, args.batch, args.time / 1000, args.device)
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump(body, file, indent=2)
        file.write("\n")
    print(body["absent"] or f"PyTorch {body['version']} on {body['device']}: {len(body['rows'])} rows")


def measure(workloads, batch, seconds, wanted):
    body = {"version": None, "device": None, "cudnn": None, "absent": None, "rows": []}
    try:
        import torch
    except ImportError as error:
        return body | {"absent": f"PyTorch isn't installed: {error}"}
    has_gpu = torch.cuda.is_available()
    body["version"] = torch.__version__
    if not has_gpu and wanted == "cuda":
        return body | {"absent": "PyTorch finds no CUDA device"}
    clock = Clock(torch, "cuda" if has_gpu else "cpu")
    body["device"] = torch.cuda.get_device_name() if has_gpu else "cpu"
    body["cudnn"] = torch.backends.cudnn.version()
    torch.backends.cudnn.benchmark = True
    torch.set_grad_enabled(False)
    for workload in workloads:
        for n in sorted({*workload["batches"], batch}):
            for last in (False, True):
                layer = Layer(torch, clock.device, workload, n, last)
                for tf32 in (False, True) if has_gpu else (False,):
                    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
                    if not tf32:
                        layer.check()
                    for form in ("static", "grouped", "attention"):
                        place = {"workload": workload["name"], "batch": n, "layout": "nhwc" if last else "nchw"}
                        body["rows"].append(place | {"form": form, "tf32": tf32} | clock.time(getattr(layer, form), seconds))
    return body


class Layer:
    """A workload's tensors on the device, and its forms."""

    def __init__(self, torch, device, workload, batch, last):
        self.torch, self.w, self.n = torch, workload, batch
        torch.manual_seed(1)
        w, memory_format = workload, torch.channels_last if last else torch.contiguous_format
        def random(*shape, fan_in=1):
            return (2 * torch.rand(*shape, device=device) - 1) / fan_in**0.5
        depth = w["in_channels"] // w["groups"]
        kernel = [w["out_channels"], depth, w["kernel"], w["kernel"]]
        fan_in = depth * w["kernel"] ** 2
        self.x = random(batch, w["in_channels"], w["extent"], w["extent"]).contiguous(memory_format=memory_format)
        self.experts = random(w["experts"], *kernel, fan_in=fan_in)
        self.biases = random(w["experts"], w["out_channels"])
        self.kernel = self.experts[0].contiguous(memory_format=memory_format)
        self.bias = self.biases[0]
        self.fc1 = random(w["hidden"], w["in_channels"], fan_in=w["in_channels"]), random(w["hidden"])
        self.fc2 = random(w["experts"], w["hidden"], fan_in=w["hidden"]), random(w["experts"])
        self.memory_format = memory_format

    def conv(self, x, kernel, bias, groups):
        return self.torch.nn.functional.conv2d(x, kernel, bias, self.w["stride"], self.w["kernel"] // 2, 1, groups)

    def static(self):
        return self.conv(self.x, self.kernel, self.bias, self.w["groups"])

    def attention(self):
        functional = self.torch.nn.functional
        hidden = functional.linear(self.x.mean((2, 3)), *self.fc1).relu()
        return functional.linear(hidden, *self.fc2).softmax(1)

    def grouped(self):
        w, n = self.w, self.n
        kernels, biases = self.aggregated(self.attention())
        x = self.x.reshape(1, n * w["in_channels"], w["extent"], w["extent"])
        y = self.conv(x, kernels.flatten(0, 1), biases.flatten(), n * w["groups"])
        return y.view(n, w["out_channels"], *y.shape[2:])

    def aggregated(self, pi):
        """Kernels and biases of each sample."""
        return (pi @ self.experts.flatten(1)).view(-1, *self.experts.shape[1:]), pi @ self.biases

    def check(self):
        """The last sample of the grouped form is a convolution of its own."""
        kernels, biases = self.aggregated(self.attention())
        want = self.conv(self.x[-1:], kernels[-1], biases[-1], self.w["groups"])
        off = ((self.grouped()[-1:] - want).abs().max() / want.abs().max()).item()
        if not off < 1e-3:
            raise RuntimeError(f"{self.w['name']}: the grouped convolution is off by {off}")


class Clock:
    """Times calls on a device."""

    def __init__(self, torch, device):
        self.torch, self.device = torch, device

    def wait(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def time(self, call, seconds):
        for _ in range(3):
            call()
        self.wait()
        measured = {"call_us": self.one, "queued_us": self.queued}
        return {name: repeat(lambda measure_once=measure_once: measure_once(call), seconds / 2) for name, measure_once in measured.items()}

    def one(self, call):
        start = time.perf_counter()
        call()
        self.wait()
        return 1e6 * (time.perf_counter() - start)

    def queued(self, call):
        if self.device != "cuda":
            return self.one(call)
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(QUEUED):
            call()
        end.record()
        self.wait()
        return 1e3 * start.elapsed_time(end) / QUEUED


def repeat(measure_once, seconds):
    """The median of several, until the time is up."""
    end, times = time.perf_counter() + seconds, []
    while not times or time.perf_counter() < end:
        times.append(measure_once())
    return statistics.median(times)


if __name__ == "__main__":
    main()
