"""Times dyconv's workloads in other frameworks, in turn with dyconv itself.

    python dyconv-bench/peers --dyconv target/release/dyconv --out peers.json
    dyconv bench --against peers.json

README.md says what is installed for it, what is timed, and how fairly.
"""

import argparse
import json
import os
import shlex
import sys
import time

import engines
from children import Child, ChildError, Ours, Peers
from record import Record, RecordError, machine
from schedule import Case, best_so_far, measure
from workloads import WorkloadError, ask, parse_table, select

HERE = os.path.dirname(os.path.abspath(__file__))
QUICK = {"workload": ["resnet18-128x28", "mbv2-project-384-96x14", "mbv2-dw-384x14"], "batch": [1], "rounds": 2, "ms": 20}
LEARNING = ["pytorch"]
FULL = {"workload": ["all"], "batch": None, "rounds": 5, "ms": 60}


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        prog="peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dyconv", metavar="PATH", help="the program; it names the workloads and is timed in turn")
    parser.add_argument("--peers-only", action="store_true", help="don't time dyconv")
    parser.add_argument("--workloads", metavar="FILE", help="what `dyconv workloads --json` printed, where there is no program")
    parser.add_argument("--rust", metavar="PATH", help="the program of rust/ with the Rust engines")
    parser.add_argument("--framework", metavar="NAMES", type=names, default=list(engines.FRAMEWORKS),
                        help=f"Python frameworks, separated by commas; by default {','.join(engines.FRAMEWORKS)}")
    parser.add_argument("--python", metavar="FRAMEWORK=PATH", type=interpreter, action="append", default=[],
                        help="interpreter for a framework that has its own environment")
    parser.add_argument("--workload", metavar="NAMES", type=names, help="names or groups, as for `dyconv bench`; by default all")
    parser.add_argument("--batch", metavar="N", type=numbers, help="batch sizes; by default each layer's own")
    parser.add_argument("--precision", metavar="NAMES", type=names, default=["f32", "bf16", "f16"],
                        help="storage of dyconv's experts; peers compute in f32 only")
    parser.add_argument("--threads", metavar="N", type=positive, default=1)
    parser.add_argument("--cores", metavar="N,N", type=numbers, help="where everything runs; by default the last ones allowed")
    parser.add_argument("--rounds", metavar="N", type=positive, help=f"rounds of slices; by default {FULL['rounds']}")
    parser.add_argument("--ms", metavar="MS", type=positive, help=f"time of a slice; by default {FULL['ms']}")
    parser.add_argument("--no-compile", action="store_true", help="leave out the forms that compile for seconds (torch.compile, XLA)")
    parser.add_argument("--training", action="store_true",
                        help="time a forward and its backward instead, in frameworks that learn; for its own table")
    parser.add_argument("--quick", action="store_true", help="a trial: three workloads, two short rounds")
    parser.add_argument("--out", metavar="FILE", default="peers.json")
    parser.add_argument("--resume", action="store_true", help="keep the finished workloads of --out")
    parser.add_argument("--self-test", action="store_true", help="check this program itself; needs NumPy only")
    args = parser.parse_args(argv)
    if args.training:
        args.framework, args.precision = [name for name in args.framework if name in LEARNING], ["f32"]
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    for name in [*args.framework, *dict(args.python)]:
        if name not in engines.MODULES:
            parser.error(f"framework ({name}) must be one of {', '.join(engines.FRAMEWORKS)}")
    if not (args.self_test or args.dyconv or args.workloads):
        parser.error("--dyconv PATH is needed, or --workloads FILE with --peers-only")
    if args.workloads and not (args.dyconv or args.peers_only):
        parser.error("--workloads without --dyconv needs --peers-only")
    args.cores = set(args.cores or sorted(os.sched_getaffinity(0))[-args.threads :])
    if len(args.cores) != args.threads:
        parser.error(f"{args.threads} threads need as many cores: {len(args.cores)} are given or allowed")
    return args


def names(text):
    return [name for name in text.split(",") if name]


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer ≥ 1")
    return int(text)


def numbers(text):
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers")
    return [int(part) for part in text.split(",")]


def interpreter(text):
    framework, equals, path = text.partition("=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"{text!r} must be FRAMEWORK=PATH")
    return framework, path


def open_sides(args):
    """Starts every child: (side, title) pairs, our side last, and what is absent."""
    pythons = dict(args.python)
    commands = {
        name: [pythons.get(name, sys.executable), os.path.join(HERE, "worker.py"), "--framework", name,
               "--threads", str(args.threads), *(["--no-compile"] if args.no_compile else [])]
        for name in args.framework
    }  # fmt: skip
    if args.rust:
        commands["rust"] = [args.rust, "--threads", str(args.threads)]
    sides, absent = [], []
    for title, command in commands.items():
        try:
            side = Peers(Child(command, args.threads, args.cores), args.training)
        except ChildError as error:
            absent.append({"framework": title, "reason": str(error)})
            continue
        absent += side.absent
        if side.versions:
            sides.append((side, title))
            say(", ".join(f"{name} {version}" for name, version in side.versions.items()))
        else:
            side.child.stop()
    if args.dyconv and not args.peers_only:
        command = [args.dyconv, "serve", "--backend", "simd", "--threads", str(args.threads)]
        side = Ours(Child(command, args.threads, args.cores), args.precision, args.training)
        say(f"dyconv {side.hello['program']}, {side.hello['backend']}")
        sides.append((side, "dyconv"))
    return sides, absent


def cases(args):
    """Every workload and batch that is asked for."""
    if args.workloads:
        with open(args.workloads, encoding="utf-8") as file:
            table = parse_table(file.read())
    else:
        table = ask(args.dyconv)
    return [Case(w, batch) for w in select(table, args.workload) for batch in (args.batch or w.batches)]


def settings(args):
    """What a continued file must have in common with this run."""
    kept = ("rounds", "ms", "framework", "precision", "no_compile", "peers_only", *(["training"] if args.training else []))
    return {**{name: getattr(args, name) for name in kept}, "rust": args.rust is not None}


def run(args):
    """Measures everything; returns the process's exit status."""
    todo = cases(args)
    sides, absent = open_sides(args)
    for entry in absent:
        say(f"absent: {entry['framework']}: {entry['reason']}")
    ours = [side for side, title in sides if title == "dyconv"]
    if len(sides) == len(ours):
        say("no framework is here: nothing to compare with")
        return 2
    about = (ours[0].hello["machine"] if ours else machine()), args.threads, shlex.join(["peers", *sys.argv[1:]]), settings(args)
    try:
        record = Record.resume(args.out, *about) if args.resume and os.path.exists(args.out) else Record(*about)
        record.body["absent"] = absent
        record.write(args.out)
        return measure_all(args, [case for case in todo if not record.has(case.workload, case.batch)], sides, record)
    finally:
        for side, _ in sides:
            side.child.stop()


def measure_all(args, todo, sides, record):
    started = time.monotonic()
    for number, case in enumerate(todo):
        title = f"[{number + 1}/{len(todo)}] {case.workload.name} batch {case.batch}"
        began = time.monotonic()
        try:
            measure(case, sides, args.rounds, args.ms, lambda text: progress(f"{title}: {text}"))
        except KeyboardInterrupt:
            record.add(case, finished=False)
            record.write(args.out)
            say(f"\ninterrupted; what was measured is in {args.out}, --resume goes on")
            return 130
        record.add(case, finished=True)
        record.write(args.out)
        progress("")
        failed = f", {len(case.skipped)} forms skipped" if case.skipped else ""
        say(f"{title}: {best_so_far(case.contestants)}{failed} ({time.monotonic() - began:.0f} s)")
    say(f"{len(record.body['rows'])} rows in {args.out} ({(time.monotonic() - started) / 60:.1f} min)")
    return 0


def say(text):
    print(text, file=sys.stderr, flush=True)


def progress(text):
    """One line that the next one overwrites; nothing where nobody looks."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main():
    args = arguments()
    if args.self_test:
        from self_test import self_test

        return self_test()
    try:
        return run(args)
    except (WorkloadError, RecordError, ChildError, OSError) as error:
        say(f"peers: {error}")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
