"""`python dyconv-bench/peers --self-test`: everything but the frameworks, with NumPy only.

The reference is held against plain loops; schedule, timing and file against what they promise;
then the whole program runs as a user would run it, with NumPy as the framework and a stand-in
for dyconv, is interrupted, goes on, and is given children that die, fall silent or talk nonsense.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time

import numpy as np

import engines
from children import Child, ChildError, Contestant, Ours, Peers
from layer import Layer
from record import Record, RecordError
from schedule import Case, best_so_far, in_turn, measure, near_best
from worker import FEWEST_CALLS, Worker, timed
from workloads import Workload, WorkloadError, parse_table, select

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = [  # in, out, kernel, stride, groups, extent, experts
    (4, 6, 3, 1, 1, 5, 3), (4, 6, 3, 2, 2, 6, 2), (6, 6, 3, 1, 6, 4, 4), (6, 6, 3, 2, 6, 7, 4), (5, 3, 1, 1, 1, 4, 4), (3, 4, 3, 2, 1, 8, 1),
]  # fmt: skip


def workload(shape=SHAPES[0], name="net-layer-1", batches=(1,), extra=False):
    i, o, kernel, stride, groups, extent, experts = shape
    return Workload(name, i, o, kernel, stride, groups, extent, experts, 4, batches, extra)


TABLE = [workload(batches=(1, 2)), workload(SHAPES[2], "net-dw-6x4"), workload(SHAPES[4], "net-extra", extra=True)]

STAND_IN = """
import json, sys
log = open(sys.argv[0] + ".log", "a")
if sys.argv[1] == "workloads":
    print(open(sys.argv[0] + ".json").read())
    sys.exit()
machine = {"cpu": "stand-in", "cores": 1, "os": "none"}
print(json.dumps({"version": 1, "kind": "serve", "program": "9.9", "machine": machine, "backend": "simd", "threads": 1}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    log.write(line)
    answer = {**request, "plan": "some plan", "durations_us": [3.0, 1.0, 2.0], "worst_error": 1e-7, "peak_gflops": 100.0}
    print(json.dumps({"error": "no f16 here"} if request["precision"] == "f16" else answer), flush=True)
"""

ENGINES = """
import json, sys
assert sys.argv[1:] == ["--threads", "1"], sys.argv
engines = [{"framework": name, "version": name[0]} for name in ("first", "second")]
absent = [{"framework": "third", "reason": "left out"}]
print(json.dumps({"version": 1, "kind": "worker", "engines": engines, "absent": absent}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "prepare" in request:
        entries = [{"framework": name, "variant": "v", "mode": mode} for name in ("first", "second") for mode in ("static", "dynamic")]
        answer = {"forms": [{**e, "layout": "nchw", "worst_error": 0.0} for e in entries[:3]], "skipped": [{**entries[3], "reason": "can't"}]}
    else:
        answer = {"durations_us": [float(request["slice"] + 10)] * 3}
    print(json.dumps(answer), flush=True)
"""


def self_test():
    """Runs everything; returns the process's exit status."""
    if not __debug__:
        raise SystemExit("self-test needs its assertions: run python without -O")
    with tempfile.TemporaryDirectory() as folder:
        for test in (reference, errors_are_seen, tables_and_names, timing, turns, worker_answers, interruption_of_a_case, files):
            test()
            print(f"self-test: {test.__name__.replace('_', ' ')}: well")
        for test in (children, whole_program, several_engines, interrupted_program, refused_arguments):
            test(os.path.join(folder, test.__name__))
            print(f"self-test: {test.__name__.replace('_', ' ')}: well")
    return 0


# The layer -------------------------------------------------------------------------------


def reference():
    """Shift-and-multiply against plain loops over every tap; the dynamic layer against mixed outputs."""
    for shape in SHAPES:
        w = workload(shape)
        layer = Layer(w, 2)
        assert np.allclose(layer.attention.sum(1), 1) and layer.attention.min() > 1e-3, f"{shape}: {layer.attention}"
        if w.experts > 1:
            assert not np.allclose(layer.attention[0], layer.attention[1]), f"{shape}: both samples have the same attention"
        for n in range(2):
            every = [naive_convolve(w, layer.x[n], layer.weight[k], layer.bias[k]) for k in range(w.experts)]
            mixed = sum(pi * y for pi, y in zip(naive_attention(layer, n), every))
            for mode, want in (("static", every[0]), ("dynamic", mixed)):
                error = np.abs(layer.expected(mode)[n] - want).max()
                assert error < 1e-12, f"{shape} {mode}: {error:.3g} from the plain loops"
        assert layer.expected("static").shape == w.output_shape(2)


def naive_convolve(w, x, weight, bias):
    y = np.empty(w.output_shape(1)[1:])
    for o, row, column in np.ndindex(*y.shape):
        first = o // (w.out_channels // w.groups) * w.group_channels
        total = float(bias[o])
        for c, i, j in np.ndindex(w.group_channels, w.kernel, w.kernel):
            h, v = row * w.stride + i - w.padding, column * w.stride + j - w.padding
            if 0 <= h < w.extent and 0 <= v < w.extent:
                total += float(weight[o, c, i, j]) * float(x[first + c, h, v])
        y[o, row, column] = total
    return y


def naive_attention(layer, n):
    w = layer.workload
    pooled = [sum(float(v) for v in layer.x[n, c].ravel()) / w.extent**2 for c in range(w.in_channels)]

    def dense(weight, bias, values):
        return [sum(float(a) * v for a, v in zip(row, values)) + float(b) for row, b in zip(weight, bias)]

    hidden = [max(v, 0.0) for v in dense(layer.fc1_weight, layer.fc1_bias, pooled)]
    powers = [np.exp(v) for v in dense(layer.fc2_weight, layer.fc2_bias, hidden)]
    return [power / sum(powers) for power in powers]


def errors_are_seen():
    layer = Layer(workload(), 2)
    right = layer.expected("dynamic").astype(np.float32)
    assert layer.worst_error(right, "dynamic") < 1e-6
    wrong = right.copy()
    wrong[1, 5, 4, 4] += 0.01 * np.abs(right).max()
    assert 0.009 < layer.worst_error(wrong, "dynamic") < 0.011
    assert layer.worst_error(right, "static") > 0.01, "the static output passed as the dynamic one"
    wrong[0, 0, 0, 0] = np.nan
    assert layer.worst_error(wrong, "dynamic") == float("inf")
    assert layer.worst_error(right[:, :, :-1], "dynamic") == float("inf")


def tables_and_names():
    text = json.dumps([{**w.to_json(), "source": "somewhere"} for w in TABLE])
    assert parse_table(text) == TABLE, "a table changed on the way"
    entry = TABLE[0].to_json()
    broken = [
        ("no", "not JSON"), ("[]", "at least one"), (json.dumps([{**entry, "groups": 3}]), "must divide"),
        (json.dumps([{**entry, "stride": 0}]), "stride (0)"), (json.dumps([{**entry, "kernel": True}]), "kernel (True)"),
        (json.dumps([{k: v for k, v in entry.items() if k != "hidden"}]), "lacks hidden"),
    ]  # fmt: skip
    for table, words in broken:
        refused(WorkloadError, words, parse_table, table)
    expected = [
        (["net-layer-1"], [0]), (["net"], [0, 1]), (["all"], [0, 1, 2]), (["paper"], [0, 1]), (["extras"], [2]),
        (["net-dw", "net-layer-1"], [0, 1]), (["net-extra"], [2]),
    ]  # fmt: skip
    for names, numbers in expected:
        assert select(TABLE, names) == [TABLE[n] for n in numbers], names
    for wrong in ("ne", "", "net-", "layer"):
        refused(WorkloadError, "net-dw-6x4", select, TABLE, [wrong])


def refused(kind, words, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind as error:
        assert words in str(error), f"the error should say {words!r}, not {str(error)!r}"
    else:
        raise AssertionError(f"accepted: {words!r} was expected")


# Time ------------------------------------------------------------------------------------


def timing():
    """A clock that only calls move: how many there are is then known exactly."""
    now = 0

    def run(call_ms, ms):
        nonlocal now
        now, calls = 0, 0

        def call():
            nonlocal now, calls
            now, calls = now + call_ms * 1_000_000, calls + 1

        durations = timed(call, ms, clock=lambda: now)
        assert durations == [call_ms * 1e3] * len(durations)
        return calls - len(durations), len(durations)

    assert run(1, 10) == (20, 10), "20 ms of warm-up, then 10 ms"
    assert run(15, 10) == (3, FEWEST_CALLS), "three calls at least, both times"
    assert run(100, 10) == (1, FEWEST_CALLS), "a long call warms up once"
    assert run(2000, 10) == (1, 1), "one that takes for ever is timed once"


def contestant(name, median, mode="dynamic", side="peer"):
    made = Contestant(None, {}, side=side, framework=name, variant="", mode=mode, layout="nchw", version="1")
    made.durations_us = [] if median is None else [median]
    return made


def turns():
    assert list(in_turn("abc", list("xy"))) == list("axbycx")
    assert list(in_turn("abc", list("xy"), start=1)) == list("aybxcy")
    assert list(in_turn("a", list("xyz"))) == list("axyz"), "everyone of ours is called, no peer twice"
    assert list(in_turn("ab", [])) == list("ab") and list(in_turn("", list("xy"))) == list("xy")

    fast, near, far = contestant("fast", 100.0), contestant("near", 149.0), contestant("far", 151.0)
    new, static, mine = contestant("new", None), contestant("static", 40.0, "static"), contestant("mine", 900.0, side="dyconv")
    assert near_best([fast, near, far, new, static, mine]) == [fast, near, new, static, mine]
    assert near_best([new, mine]) == [new, mine]
    words = best_so_far([fast, near, static, mine])
    assert words == "dynamic 100 (ours 900), static 40 (ours –) µs", words


def worker_answers():
    """Prepare, slices, and whatever goes wrong, in one process."""
    worker = Worker("numpy", engines.load("numpy", 1))
    answer = worker.answer({"prepare": TABLE[0].to_json(), "batch": 2})
    assert [(form["variant"], form["mode"]) for form in answer["forms"]] == [("plain", "static"), ("plain", "dynamic")], answer
    assert all(form["worst_error"] < 1e-6 for form in answer["forms"])
    reasons = {entry["variant"]: entry["reason"] for entry in answer["skipped"]}
    assert reasons.keys() == {"unable", "wrong"} and "NotImplementedError" in reasons["unable"] and "0.01" in reasons["wrong"], reasons
    assert len(worker.answer({"slice": 1, "ms": 1})["durations_us"]) >= FEWEST_CALLS
    for wrong in ({"slice": 2, "ms": 1}, {"prepare": {}, "batch": 1}, {}):
        assert "error" in worker.answer(wrong), wrong
    assert engines.FRAMEWORKS == ("ncnn", "openvino", "onnxruntime", "pytorch", "tensorflow", "jax")
    for module in engines.MODULES.values():
        assert os.path.exists(os.path.join(HERE, "engines", module + ".py")), module


# Cases and files -------------------------------------------------------------------------


class Stub:
    """A side whose contestants answer from a list, or fail."""

    def __init__(self, contestants, error=None):
        self.contestants, self.error, self.log = contestants, error, []

    def prepare(self, workload, batch):
        if self.error:
            raise ChildError(self.error)
        return self.contestants, [{"framework": "stub", "variant": "v", "mode": "static", "reason": "can't"}]

    def ask(self, request):
        self.log.append(request["name"])
        if request.get("interrupt") == len(self.log):
            raise KeyboardInterrupt
        if request["name"] == "broken":
            raise ChildError("broke")
        return {"durations_us": [request["us"]], "plan": "p", "worst_error": 0.0, "peak_gflops": 1.0}


def stub(entries, **more):
    """(side, name, µs) of every contestant."""
    side = Stub([])
    for where, name, us in entries:
        made = Contestant(
            side, {"name": name, "us": us, **more}, side=where, framework=name, variant="v", mode="dynamic", layout="nchw",
            version="1", worst_error=0.0,
        )  # fmt: skip
        side.contestants.append(made)
    return side


def interruption_of_a_case():
    """Slices alternate; the slow drop out after a round, the broken at once; an interrupted case keeps what it has."""
    entries = [("peer", "fast", 10.0), ("peer", "slow", 20.0), ("peer", "broken", 1.0), ("dyconv", "ours", 5.0)]
    side, case = stub(entries), Case(TABLE[0], 1)
    measure(case, [(side, "stub"), (Stub([], error="died"), "dead")], rounds=3, ms=1)
    assert side.log == ["fast", "ours", "slow", "ours", "broken", "ours", "fast", "ours", "fast", "ours"], side.log
    assert {c.framework: len(c.durations_us) for c in case.contestants} == {"fast": 3, "slow": 1, "ours": 5}
    skipped = [(entry["framework"], entry["mode"], entry["reason"]) for entry in case.skipped]
    assert skipped == [
        ("stub", "static", "can't"), ("dead", "dynamic", "died"), ("dead", "static", "died"), ("broken", "dynamic", "broke"),
    ], skipped  # fmt: skip

    side, case = stub(entries[:2], interrupt=2), Case(TABLE[0], 1)
    try:
        measure(case, [(side, "stub")], rounds=3, ms=1)
        raise AssertionError("an interruption was swallowed")
    except KeyboardInterrupt:
        assert [len(c.durations_us) for c in case.contestants] == [1, 0]


SETTINGS = {"rounds": 1}


def files():
    machine = {"cpu": "some", "cores": 1, "os": "none"}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "peers.json")
        record = Record(machine, 1, "peers --out 'x y'", SETTINGS)
        done, torn = Case(TABLE[0], 1), Case(TABLE[0], 2)
        for case in (done, torn):
            measure(case, [(stub([("peer", "them", 10.0), ("dyconv", "ours", 5.0)]), "stub")], rounds=2, ms=1)
            record.add(case, finished=case is done)
        record.write(path)
        with open(path, encoding="utf-8") as file:
            body = json.load(file)
        assert (body["version"], body["kind"], body["threads"], body["machine"]) == (1, "peers", 1, machine)
        assert len(body["rows"]) == 4 and len(body["skipped"]) == 2
        place = {"workload": "net-layer-1", "batch": 1, "variant": "v", "mode": "dynamic", "layout": "nchw", "precision": "f32"}
        theirs = {"side": "peer", "framework": "them", "median_us": 10.0, "min_us": 10.0, "runs": 2, "worst_error": 0.0, "version": "1"}
        assert body["rows"][0] == {**place, **theirs}, body["rows"][0]
        assert body["rows"][1]["peak_gflops"] == 1.0 and body["rows"][1]["variant"] == "p"

        again = Record.resume(path, machine, 1, "peers --resume", SETTINGS)
        assert again.has(TABLE[0], 1) and not again.has(TABLE[0], 2)
        assert {row["batch"] for row in again.body["rows"] + again.body["skipped"]} == {1}, "half a case was kept"
        for changed in (dict(threads=2), dict(settings={"rounds": 2}), dict(machine={**machine, "cpu": "other"})):
            same = {"machine": machine, "threads": 1, "command": "", "settings": SETTINGS, **changed}
            refused(RecordError, "other settings", Record.resume, path, **same)

        record.body["rows"][0]["median_us"] = float("nan")
        refused(ValueError, "JSON", record.write, path)
        assert os.listdir(folder) == ["peers.json"], "a failed write left something"
        with open(path, encoding="utf-8") as file:
            assert json.load(file) == body, "a failed write changed the file"
            file.seek(0)
            whole = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(whole[: len(whole) // 2])
        refused(RecordError, "not JSON", Record.resume, path, machine, 1, "", SETTINGS)


# Processes -------------------------------------------------------------------------------


def script(path, text):
    """An executable Python program."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!{sys.executable}\n{text}")
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return path


def children(folder):
    """Children that die, fall silent or talk nonsense cost an error in words, never the run."""
    greeting = '{"version": 1, "kind": "worker", "engines": [], "absent": []}'
    cases = [
        ("dies", "import sys; sys.exit('out of luck')", "died (exit status 1) out of luck"),
        ("silent", "import time; time.sleep(60)", "gave no answer"), ("nonsense", "print('hello')", "answered b'hello'"),
        ("other", "print('{\"version\": 2}')", "not that it is a worker"),
    ]  # fmt: skip
    for name, text, words in cases:
        refused(ChildError, words, lambda: Peers(Child([script(os.path.join(folder, name), text)], 1, timeout_s=1)))
    refused(ChildError, "can't be run", lambda: Peers(Child([os.path.join(folder, "nowhere")], 1)))

    text = f"import sys\nprint('{greeting}', flush=True)\nfor line in sys.stdin:\n    sys.exit(3)\n"
    child = Child([script(os.path.join(folder, "mortal"), text)], 1, timeout_s=5)
    Peers(child)
    for _ in range(2):  # the second time it is started again first
        refused(ChildError, "exit status 3", child.ask, {})
    child.stop()

    text = """import json, os, signal
deaf = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
print(json.dumps({"cores": sorted(os.sched_getaffinity(0)), "omp": os.environ["OMP_NUM_THREADS"], "deaf": deaf}))
"""
    core = max(os.sched_getaffinity(0))
    child = Child([script(os.path.join(folder, "pinned"), text)], 1, cores={core})
    assert child.start() == {"cores": [core], "omp": "1", "deaf": True}, "a child isn't pinned, or hears Ctrl-C"
    child.stop()
    side = Peers(Child([sys.executable, os.path.join(HERE, "worker.py"), "--framework", "numpy"], 1))
    assert side.versions == {"numpy": np.__version__}
    forms, skipped = side.prepare(TABLE[0], 1)
    forms[0].slice(1)
    assert len(forms) == 2 and len(skipped) == 2 and len(forms[0].durations_us) >= FEWEST_CALLS
    side.child.stop()


def stand_in(folder):
    path = script(os.path.join(folder, "dyconv"), STAND_IN)
    with open(path + ".json", "w", encoding="utf-8") as file:
        json.dump([w.to_json() for w in TABLE], file)
    return path


def program(folder, *more):
    """The command line of the whole program with NumPy and the stand-in."""
    return [
        sys.executable, HERE, "--dyconv", stand_in(folder), "--framework", "numpy", "--ms", "1", "--rounds", "2",
        "--out", os.path.join(folder, "peers.json"), *more,
    ]  # fmt: skip


def read(folder):
    with open(os.path.join(folder, "peers.json"), encoding="utf-8") as file:
        return json.load(file)


def whole_program(folder):
    done = subprocess.run(program(folder), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    body = read(folder)
    assert body["machine"] == {"cpu": "stand-in", "cores": 1, "os": "none"} and body["command"].startswith("peers --dyconv")
    assert len(body["finished"]) == 4, body["finished"]  # net-layer-1 in two batches
    identity = ("side", "framework", "mode", "layout", "precision")
    for place in body["finished"]:
        rows = {tuple(row[name] for name in identity): row for row in body["rows"] if place.items() <= row.items()}
        expected = [("peer", "numpy", mode, "nchw", "f32") for mode in ("dynamic", "static")]
        precisions = [("static", "f32"), ("dynamic", "f32"), ("dynamic", "bf16")]
        expected += [("dyconv", "simd", mode, layout, kind) for mode, kind in precisions for layout in ("nchw", "nhwc")]
        assert sorted(rows) == sorted(expected), f"{place}: {sorted(rows)}"
        for row in rows.values():
            assert 0 < row["min_us"] <= row["median_us"] and row["runs"] >= FEWEST_CALLS and row["worst_error"] < 1e-3, row
        mine = rows["dyconv", "simd", "dynamic", "nhwc", "f32"]
        assert (mine["median_us"], mine["variant"], mine["version"], mine["peak_gflops"]) == (2.0, "some plan", "9.9", 100.0)
        reasons = [row["reason"] for row in body["skipped"] if place.items() <= row.items()]
        assert len(reasons) == 4 and reasons.count("no f16 here") == 2, reasons
    with open(os.path.join(folder, "dyconv.log"), encoding="utf-8") as file:
        asked = [json.loads(line)["workload"] for line in file]
    assert asked == sorted(asked, key=[w.name for w in TABLE].index), "workloads were mixed: each would be prepared again"

    quick = subprocess.run(program(folder, "--workload", "net-dw", "--batch", "3", "--precision", "f32"), capture_output=True, text=True)
    assert quick.returncode == 0 and read(folder)["finished"] == [{"workload": "net-dw-6x4", "batch": 3}], quick.stderr
    absent = subprocess.run([*program(folder), "--python", "numpy=/nowhere"], capture_output=True, text=True)
    assert absent.returncode == 2 and "absent: numpy" in absent.stderr and "nothing to compare" in absent.stderr, absent.stderr


def several_engines(folder):
    """A child with several engines, as `--rust` starts it: each has rows and reasons of its own."""
    engines_program = script(os.path.join(folder, "engines"), ENGINES)
    done = subprocess.run(program(folder, "--workload", "net-dw", "--rust", engines_program), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    body = read(folder)
    rows = {(row["framework"], row["mode"]): row for row in body["rows"] if row["framework"] in ("first", "second", "third")}
    assert {place: row["median_us"] for place, row in rows.items()} == {
        ("first", "static"): 10.0, ("first", "dynamic"): 11.0, ("second", "static"): 12.0,
    }, rows  # fmt: skip
    assert rows["second", "static"]["version"] == "s" and body["absent"] == [{"framework": "third", "reason": "left out"}], body
    skipped = [entry for entry in body["skipped"] if entry["framework"] == "second"]
    assert [(entry["mode"], entry["reason"]) for entry in skipped] == [("dynamic", "can't")], skipped
    other = subprocess.run(program(folder, "--resume"), capture_output=True, text=True, timeout=60)
    assert other.returncode == 2 and "other settings" in other.stderr, "a file with the Rust engines went on without them"


def interrupted_program(folder):
    """Ctrl-C keeps the finished cases, and --resume does the rest."""
    os.makedirs(folder)
    command = program(folder, "--ms", "400")
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs don't
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (os.path.exists(os.path.join(folder, "peers.json")) and read(folder)["finished"]):
        assert time.monotonic() < deadline and running.poll() is None, "nothing was finished"
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the children too
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130 and "--resume goes on" in errors, errors
    kept = read(folder)
    assert 1 <= len(kept["finished"]) == errors.count(" batch ") < 4, f"{kept['finished']}: {errors}"
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    body = read(folder)
    assert len(body["finished"]) == 4 and f"/{4 - len(kept['finished'])}]" in again.stderr, again.stderr
    old = [row for row in kept["rows"] if {"workload": row["workload"], "batch": row["batch"]} in kept["finished"]]
    assert body["rows"][: len(old)] == old, "finished rows were measured again"
    other = subprocess.run([*command, "--resume", "--rounds", "3"], capture_output=True, text=True, timeout=60)
    assert other.returncode == 2 and "other settings" in other.stderr, other.stderr


def refused_arguments(folder):
    cases = [
        (["--framework", "caffe"], "must be one of ncnn"), (["--threads", "0"], "integer"), (["--ms", "x"], "integer"),
        (["--python", "numpy"], "FRAMEWORK=PATH"), (["--cores", "0,1"], "as many cores"), (["--workload", "nothing"], "must be one of"),
        (["--batch", "1,b"], "list of numbers"),
    ]  # fmt: skip
    for more, words in cases:
        done = subprocess.run(program(folder, *more), capture_output=True, text=True)
        assert done.returncode == 2 and words in done.stderr, f"{more}: {done.stderr}"
    for command in ([], ["--workloads", "x.json"]):
        done = subprocess.run([sys.executable, HERE, *command], capture_output=True, text=True)
        assert done.returncode == 2 and "needed" in done.stderr or "needs" in done.stderr, done.stderr
