"""Which layers are timed.

There is no table here: `dyconv workloads --json` prints it, so that both sides always mean the
same layer by a name. A copy of that output in a file does where the program isn't built.
"""

import dataclasses
import json
import subprocess


class WorkloadError(ValueError):
    """A name or a table that can't be used; the message says what was expected."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """One layer at its real size: square, padding kernel // 2, a bias per expert, an mlp head with softmax."""

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    groups: int
    extent: int
    experts: int
    hidden: int
    batches: tuple
    extra: bool = False

    @property
    def padding(self):
        return self.kernel // 2

    @property
    def out_extent(self):
        return (self.extent + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def group_channels(self):
        """Input channels that one output channel reads."""
        return self.in_channels // self.groups

    @property
    def is_pointwise(self):
        return self.kernel == 1 and self.stride == 1 and self.groups == 1

    @property
    def is_depthwise(self):
        return self.groups == self.in_channels == self.out_channels

    def input_shape(self, batch):
        return batch, self.in_channels, self.extent, self.extent

    def output_shape(self, batch):
        return batch, self.out_channels, self.out_extent, self.out_extent

    @property
    def weight_shape(self):
        return self.experts, self.out_channels, self.group_channels, self.kernel, self.kernel

    def to_json(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, entry):
        """Checks one entry of the table; keys that are unknown here (`source`) are passed over."""
        fields = {}
        for field in dataclasses.fields(cls):
            if field.name not in entry:
                if field.name == "extra":
                    continue
                raise WorkloadError(f"workload {entry.get('name', entry)!r} lacks {field.name}")
            fields[field.name] = entry[field.name]
        for name in ("in_channels", "out_channels", "kernel", "stride", "groups", "extent", "experts", "hidden"):
            if type(fields[name]) is not int or fields[name] < 1:
                raise WorkloadError(f"workload {fields['name']!r}: {name} ({fields[name]!r}) must be an integer ≥ 1")
        fields["batches"] = tuple(fields["batches"])
        workload = cls(**fields)
        if workload.in_channels % workload.groups or workload.out_channels % workload.groups:
            raise WorkloadError(f"workload {workload.name!r}: groups ({workload.groups}) must divide both channel counts")
        return workload


def parse_table(text):
    """The workloads of a table as `dyconv workloads --json` prints it."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise WorkloadError(f"the table of workloads is not JSON: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise WorkloadError("the table of workloads must be a list with at least one layer")
    return [Workload.from_json(entry) for entry in entries]


def ask(dyconv):
    """The workloads of the program at the path `dyconv`."""
    command = [dyconv, "workloads", "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise WorkloadError(f"{dyconv} can't be run: {error}") from None
    if done.returncode != 0:
        raise WorkloadError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
    return parse_table(done.stdout)


def select(workloads, names):
    """The workloads that `names` mean: full names, beginnings up to a dash (extras not included),
    `paper` (all but the extras), `extras` or `all`; in the table's order."""
    chosen = set()
    for name in names:
        found = [w.name for w in workloads if w.name == name] or _group(workloads, name)
        if not found:
            known = ", ".join(w.name for w in workloads)
            raise WorkloadError(f"workload ({name!r}) must be one of {known}, the start of some names, paper, extras or all")
        chosen.update(found)
    return [w for w in workloads if w.name in chosen]


def _group(workloads, name):
    rules = {"all": lambda w: True, "paper": lambda w: not w.extra, "extras": lambda w: w.extra}
    rule = rules.get(name, lambda w: name != "" and not w.extra and w.name.startswith(name + "-"))
    return [w.name for w in workloads if rule(w)]
