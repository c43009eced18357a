"""The file that `dyconv bench --against` reads: one JSON object, written whole after every case."""

import datetime
import json
import os
import platform
import statistics
import tempfile

VERSION = 1


class RecordError(ValueError):
    """A file that can't be continued or written."""


class Record:
    """Rows and skipped forms of the cases so far."""

    def __init__(self, machine, threads, command, settings):
        self.body = {
            "version": VERSION, "kind": "peers", "machine": machine, "threads": threads, "made": now(), "command": command,
            "settings": settings, "rows": [], "skipped": [], "absent": [], "finished": [],
        }

    @classmethod
    def resume(cls, path, machine, threads, command, settings):
        """Continues the file at `path`: finished cases stay, others are forgotten. It must have been made here, alike."""
        with open(path, encoding="utf-8") as file:
            try:
                old = json.load(file)
            except ValueError as error:
                raise RecordError(f"{path} is not JSON: {error}") from None
        record = cls(machine, threads, command, settings)
        wanted = {"version": VERSION, "kind": "peers", "threads": threads, "settings": settings}
        found = {name: old.get(name) for name in wanted} if isinstance(old, dict) else None
        if found != wanted or old.get("machine", {}).get("cpu") != machine["cpu"]:
            raise RecordError(f"{path} was made with other settings or on another machine: {found}, not {wanted}")
        finished = {(case["workload"], case["batch"]) for case in old["finished"]}
        for part in ("rows", "skipped"):
            record.body[part] = [row for row in old[part] if (row["workload"], row["batch"]) in finished]
        record.body["finished"] = old["finished"]
        return record

    def has(self, workload, batch):
        return {"workload": workload.name, "batch": batch} in self.body["finished"]

    def add(self, case, finished):
        """Takes over what was measured of a case, and what wasn't."""
        place = {"workload": case.workload.name, "batch": case.batch}
        self.body["rows"] += [{**place, **row(contestant)} for contestant in case.contestants if contestant.durations_us]
        self.body["skipped"] += [{**place, **entry} for entry in case.skipped]
        if finished:
            self.body["finished"].append(place)
        self.body["made"] = now()

    def write(self, path):
        """Writes under a temporary name and renames, so that a reader never sees half a file."""
        folder, name = os.path.split(os.path.abspath(path))
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self.body, file, indent=1, ensure_ascii=False, allow_nan=False)
                file.write("\n")
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def row(contestant):
    """One row: all slices pooled."""
    c = contestant
    entry = {
        "side": c.side, "framework": c.framework, "variant": c.variant, "mode": c.mode, "layout": c.layout,
        "precision": c.precision, "median_us": round(statistics.median(c.durations_us), 3),
        "min_us": round(min(c.durations_us), 3), "runs": len(c.durations_us), "worst_error": c.worst_error, "version": c.version,
    }
    if c.peaks:
        entry["peak_gflops"] = round(statistics.median(c.peaks), 2)
    return entry


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine():
    """This machine as `dyconv` describes it, for runs without it."""
    fields = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                fields.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    cpu = fields.get("model name") or platform.machine()
    if "cpu family" in fields and "model" in fields:
        cpu += f" (family {fields['cpu family']}, model {fields['model']})"
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "os": f"{platform.system()} {platform.machine()}"}
