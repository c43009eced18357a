"""A child process that holds one framework: JSON lines in, JSON lines out.

    python worker.py --framework ncnn --threads 1

First line out: {"version": 1, "kind": "worker", "engines": [{"framework", "version"}], "absent": [{"framework", "reason"}]}.
Then one line for every request:

    {"prepare": WORKLOAD, "batch": 8}  → {"forms": [{"framework", "variant", "mode", "layout", "worst_error"}],
                                          "skipped": [{"framework", "variant", "mode", "reason"}]}
    {"slice": 3, "ms": 80}             → {"durations_us": [...]}        of the fourth form
    anything that fails                → {"error": "..."}

With "training": true a call is a forward and its backward, where the engine has `training_forms`.
The Rust engines' program speaks the same lines. It ends at the end of its input, and sleeps between requests.
"""

import argparse
import gc
import json
import os
import sys
import time

import engines
from layer import TOLERANCE, Layer
from workloads import Workload

WARM_UP_NS = 20_000_000
LONG_CALL_NS = 50_000_000  # one warm-up call is enough for these
ENDLESS_CALL_NS = 1_000_000_000  # and of these, one timed call
FEWEST_CALLS = 3


class Worker:
    def __init__(self, framework, engine):
        self.framework, self.engine = framework, engine
        self.calls = []

    def answer(self, request):
        """The answer to one request; whatever a framework throws at us is an error in words."""
        try:
            if "prepare" in request:
                workload, training = Workload.from_json(request["prepare"]), request.get("training", False)
                return self.prepare(workload, request["batch"], training)
            return {"durations_us": timed(self.calls[request["slice"]], request["ms"])}
        except Exception as error:
            return {"error": words(error)}

    def prepare(self, workload, batch, training):
        """Builds and checks every form of a layer; the previous layer's are dropped first."""
        self.calls = []
        gc.collect()
        layer = Layer(workload, batch)
        forms, skipped = [], []
        for form in self.engine.training_forms(layer) if training else self.engine.forms(layer):
            entry = {"framework": self.framework, "variant": form.variant, "mode": form.mode}
            try:
                call, fetch = form.build()
                error = layer.worst_error(fetch(call()), form.mode)
            except Exception as error:
                skipped.append({**entry, "reason": words(error)})
                continue
            if not error <= TOLERANCE:
                skipped.append({**entry, "reason": f"wrong output: {error:.3g} of the largest value from the reference"})
                continue
            self.calls.append(call)
            forms.append({**entry, "layout": form.layout, "worst_error": error})
        return {"forms": forms, "skipped": skipped}


def timed(call, ms, clock=time.perf_counter_ns):
    """Durations of single calls in µs, for `ms` after a warm-up; at least FEWEST_CALLS, where one doesn't take for ever."""
    gc.disable()
    try:
        start, calls = clock(), 0
        while calls == 0 or (clock() - start < WARM_UP_NS or calls < FEWEST_CALLS) and clock() - start < LONG_CALL_NS:
            call()
            calls += 1
        fewest = FEWEST_CALLS if clock() - start < ENDLESS_CALL_NS else 1
        durations, end = [], clock() + ms * 1_000_000
        while len(durations) < fewest or clock() < end:
            before = clock()
            call()
            durations.append(clock() - before)
    finally:
        gc.enable()
    return [duration / 1e3 for duration in durations]


def words(error):
    """An exception in one line of bounded length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", required=True, choices=list(engines.MODULES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-compile", action="store_true", help="leave out the forms that take long to build")
    args = parser.parse_args()

    # Frameworks print what they like: only our lines may reach the pipe.
    lines = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def say(message):
        lines.write(json.dumps(message, allow_nan=False) + "\n")

    hello = {"version": 1, "kind": "worker", "engines": [], "absent": []}
    try:
        engine = engines.load(args.framework, args.threads, compiled=not args.no_compile)
    except engines.Absent as absent:
        say({**hello, "absent": [{"framework": args.framework, "reason": str(absent)}]})
        return 0
    say({**hello, "engines": [{"framework": args.framework, "version": engine.version}]})
    worker = Worker(args.framework, engine)
    for line in sys.stdin:
        say(worker.answer(json.loads(line)))
    worker.calls.clear()  # before the engine, whose allocators they use
    return 0


if __name__ == "__main__":
    sys.exit(main())
