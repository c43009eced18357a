"""Child processes, one per framework and one for our program: JSON lines to and fro.

Every child computes in its own process, so that frameworks don't meet, and a crash costs one
framework one layer. The driver sleeps while a child works; children sleep while another does.
"""

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time

GOODBYE_S = 5


class ChildError(Exception):
    """A child that didn't start, died, fell silent or made no sense."""


def environment(threads):
    """What makes every framework keep to `threads` threads on a CPU."""
    number = str(threads)
    variables = {name: number for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
    if threads == 1:
        quiet["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return {**os.environ, **variables, **quiet}


class Child:
    """A process that answers every line with one line; it is started again after it died."""

    def __init__(self, command, threads, cores=None, timeout_s=600):
        self.command, self.threads, self.cores, self.timeout_s = command, threads, cores, timeout_s
        self.process, self.hello = None, None

    def start(self):
        """Starts the process and returns its first line."""
        self.log = tempfile.TemporaryFile()

        def pin():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
            if self.cores is not None:
                os.sched_setaffinity(0, self.cores)

        try:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                env=environment(self.threads), preexec_fn=pin,
            )
        except OSError as error:
            raise ChildError(f"{self.command[0]} can't be run: {error}") from None
        self.pending = b""
        self.hello = self._read()
        return self.hello

    def ask(self, request):
        """The answer to a request; a child that died before is started again first."""
        if self.process is None:
            self.start()
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            self._fail("died")
        return self._read()

    def _read(self):
        deadline = time.monotonic() + self.timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._fail(f"gave no answer for {self.timeout_s} s")
                chunk = os.read(self.process.stdout.fileno(), 1 << 20)
                if not chunk:
                    self._fail("died")
                self.pending += chunk
        line, self.pending = self.pending.split(b"\n", 1)
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._fail(f"answered {line[:200]!r}")
        return answer

    def _fail(self, what):
        """Ends the child; the error tells what it last wrote on stderr."""
        self.process.kill()
        status = self.process.wait()
        self.log.seek(0)
        last = self.log.read().decode(errors="replace").strip().splitlines()[-1:]
        self._forget()
        raise ChildError(" ".join([f"{os.path.basename(self.command[0])} {what} (exit status {status})", *last])[:400])

    def stop(self):
        """Ends the child by ending its input; kills it where that isn't enough."""
        if self.process is None:
            return
        try:
            self.process.stdin.close()
            self.process.wait(GOODBYE_S)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self._forget()

    def _forget(self):
        for stream in (self.process.stdin, self.process.stdout, self.log):
            try:
                stream.close()
            except OSError:
                pass
        self.process = None


class Peers:
    """A worker: one framework, or a program with several engines (`worker.py` says what it is asked)."""

    def __init__(self, child, training=False):
        self.child, self.training = child, training
        hello = _checked_hello(child, "worker")
        self.versions = {engine["framework"]: engine["version"] for engine in hello["engines"]}
        self.absent = hello.get("absent", [])

    def prepare(self, workload, batch):
        """(contestants, skipped) of one layer."""
        answer = self.child.ask({"prepare": workload.to_json(), "batch": batch, **({"training": True} if self.training else {})})
        if "error" in answer:
            raise ChildError(answer["error"])
        forms = [
            Contestant(self.child, {"slice": number}, side="peer", version=self.versions[form["framework"]], **form)
            for number, form in enumerate(answer["forms"])
        ]
        return forms, answer["skipped"]


class Ours:
    """`dyconv serve`."""

    def __init__(self, child, precisions, training=False):
        self.child, self.precisions, self.training = child, precisions, training
        self.hello = _checked_hello(child, "serve")
        self.absent = []

    def prepare(self, workload, batch):
        """Both layouts of the dynamic and the static layer; experts also in the other precisions asked for."""
        forms = []
        for mode, precision in [("static", "f32"), *(("dynamic", precision) for precision in self.precisions)]:
            for layout in ("nhwc", "nchw"):
                request = {"workload": workload.name, "batch": batch, "mode": mode, "layout": layout, "precision": precision}
                request.update({"pass": "training"} if self.training else {})
                identity = {"framework": self.hello["backend"], "variant": "", "mode": mode, "layout": layout}
                forms.append(
                    Contestant(
                        self.child, request, side="dyconv", version=self.hello["program"], precision=precision, **identity
                    )
                )
        return forms, []


def _checked_hello(child, kind):
    hello = child.start()
    if hello.get("version") != 1 or hello.get("kind") != kind:
        child.stop()
        raise ChildError(f"{child.command[0]} said {str(hello)[:200]}, not that it is a {kind} of version 1")
    return hello


class Contestant:
    """One form of the layer in one child, with the durations of all its slices so far."""

    def __init__(self, child, request, *, side, framework, variant, mode, layout, version, worst_error=None, precision="f32"):
        self.child, self.request, self.side = child, request, side
        self.framework, self.variant, self.mode, self.layout, self.version = framework, variant, mode, layout, version
        self.worst_error, self.precision = worst_error, precision
        self.durations_us, self.peaks = [], []

    @property
    def title(self):
        return " ".join(filter(None, (self.framework, self.variant, self.mode, self.layout, self.precision)))

    def slice(self, ms):
        """Times a slice. Raises ChildError where the child can't."""
        answer = self.child.ask({**self.request, "ms": ms})
        if "error" in answer:
            raise ChildError(answer["error"])
        self.durations_us.extend(answer["durations_us"])
        if self.side == "dyconv":
            self.variant, self.worst_error = answer["plan"], answer["worst_error"]
            self.peaks.append(answer["peak_gflops"])
