"""Puts what `measure.sh` measured into one record, and prints how it stands with the goals."""

import argparse
import datetime
import json

SOFTWARE = ("llvmpipe", "swiftshader")
"""In the names of adapters that are programs on the CPU."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests-passed", required=True, choices=["true", "false"])
    parser.add_argument("--commit", default="", help="what was measured")
    parser.add_argument("--torch", required=True, metavar="FILE", help="what torch_layers.py wrote")
    parser.add_argument("--out", required=True, metavar="FILE")
    parser.add_argument("bench", nargs="+", metavar="FILE", help="records of `dyconv bench --profile --baseline naive`")
    args = parser.parse_args()
    benches = [read(path) for path in args.bench]
    first = benches[0]
    record = {
        "version": 1,
        "kind": "gpu",
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": args.commit or None,
        "program": first["program"],
        "machine": first["machine"],
        "adapter": next(backend["device"] for backend in first["backends"] if backend["backend"].startswith("wgpu")),
        "tests_passed": args.tests_passed == "true",
        "rows": [row for bench in benches for row in bench["rows"]],
        "skipped": [row for bench in benches for row in bench["skipped"]],
        "profiles": [profile for bench in benches for profile in bench["profiles"]],
        "torch": read(args.torch),
    }
    record["goals"] = goals(record)
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=2, ensure_ascii=False)
        file.write("\n")
    print(f"{record['adapter']}\ntests passed: {args.tests_passed}")
    for goal in record["goals"]:
        verdict = {True: "yes", False: "NO", None: "–"}[goal["reached"]]
        print(f"{verdict:4}{goal['name']}: {goal['got']}, wanted {goal['wanted']} ({goal['row']})")
    print(f"record: {args.out}")


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def in_f32(profiles):
    return [p for p in profiles if {p["precision"], p["activations"]} == {"f32"}]


def goals(record):
    """Each goal, what was got at its worst row, and whether that is enough. Without the rows it says nothing."""
    # The goals are for 32 bits.
    profiles, found = in_f32(record["profiles"]), []

    def goal(name, at_least, values, bound):
        """Of (value, row) pairs the worst counts."""
        values = sorted(values, reverse=not at_least)
        got, row = values[0] if values else (None, "not measured")
        reached = None if got is None else got >= bound if at_least else got <= bound
        wanted = f"{'≥' if at_least else '≤'} {bound}"
        found.append({"name": name, "wanted": wanted, "got": got and round(got, 3), "row": row, "reached": reached})

    def place(profile):
        return f"{profile['workload']} × {profile['batch']}, {profile['layout']}"

    naive = [(p["naive_ratio"], place(p)) for p in profiles if p["workload"] == "gpu-64x28"]
    goal("one thread per output ÷ ours, 64→64 @28 × 2", True, naive, 4)
    if any(name in record["adapter"].lower() for name in SOFTWARE):
        return found
    large = [(p["direct_gflops"] / 1000, place(p)) for p in profiles if (p["workload"], p["batch"]) == ("gpu-256x56", 32)]
    goal("TFLOP/s, direct, 256→256 @56 × 32, better layout", True, sorted(large)[-1:], 30)
    batched = [p for p in profiles if p["batch"] == 32 and p["workload"].startswith(("resnet18-", "gpu-256"))]
    goal("in a chain ÷ static, 3×3 × 32", False, [(p["chained_to_static"], place(p)) for p in batched], 1.15)
    goal("PyTorch grouped, TF32 off ÷ ours, kernels", True, over_grouped(record, place), 1)
    return found


def over_grouped(record, place):
    """PyTorch's better memory format over our better layout, by the devices' clocks, for each layer and batch."""
    ours, theirs, names = {}, {}, {}
    for p in in_f32(record["profiles"]):
        key = p["workload"], p["batch"]
        if p["kernel_us"] < ours.get(key, float("inf")):
            ours[key], names[key] = p["kernel_us"], place(p)
    for row in record["torch"]["rows"]:
        if row["form"] == "grouped" and not row["tf32"]:
            key = row["workload"], row["batch"]
            theirs[key] = min(row["queued_us"], theirs.get(key, float("inf")))
    return [(theirs[key] / ours[key], names[key]) for key in ours.keys() & theirs.keys()]


if __name__ == "__main__":
    main()
