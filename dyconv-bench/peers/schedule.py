"""Who is timed when: slices of both sides in turn, so that whatever disturbs the machine disturbs both."""

import itertools
import statistics

from children import ChildError

NEAR_BEST = 1.5  # after the first round only peers within this factor of their mode's best go on


class Case:
    """One workload and batch: what was measured, and what wasn't."""

    def __init__(self, workload, batch):
        self.workload, self.batch = workload, batch
        self.contestants, self.skipped = [], []

    def skip(self, contestant, reason):
        entry = {name: getattr(contestant, name) for name in ("framework", "variant", "mode", "layout", "precision")}
        self.skipped.append({**entry, "reason": reason})


def measure(case, sides, rounds, ms, report=lambda text: None):
    """Prepares the case in every child of `sides` and times it for `rounds` rounds.

    A round gives a slice to every peer that is still near the best, and after each of them one to
    our program, whose forms take turns. An interrupted case keeps the slices it has.
    """
    for child, title in sides:
        report(f"preparing {title}")
        try:
            contestants, skipped = child.prepare(case.workload, case.batch)
        except ChildError as error:
            skipped, contestants = [{"framework": title, "variant": "", "mode": mode, "reason": str(error)} for mode in MODES], []
        case.contestants += contestants
        case.skipped += skipped
    ours = [c for c in case.contestants if c.side == "dyconv"]
    for number in range(rounds):
        peers = [c for c in near_best(case.contestants) if c.side == "peer"]
        report(f"round {number + 1}/{rounds}: {len(peers)} forms of peers; {best_so_far(case.contestants)}")
        for contestant in in_turn(peers, ours, start=number):
            if contestant not in case.contestants:
                continue  # it failed earlier in this round
            try:
                contestant.slice(ms)
            except ChildError as error:
                case.skip(contestant, str(error))
                case.contestants.remove(contestant)
                ours = [c for c in ours if c is not contestant]


MODES = ("dynamic", "static")


def in_turn(peers, ours, start=0):
    """Peer, ours, peer, ours …: the shorter side repeats itself, so that everyone is called at least once.
    `start` turns our forms, so that the same two don't always meet; peers are never repeated."""
    if not ours:
        yield from peers
        return
    turning = itertools.cycle(ours[start % len(ours) :] + ours[: start % len(ours)])
    for peer in peers:
        yield peer
        yield next(turning)
    for _ in range(len(peers), len(ours)):
        yield next(turning)


def near_best(contestants):
    """Those whose median is within NEAR_BEST of the best peer of their mode; everyone who wasn't timed yet."""
    best = {mode: min(medians(contestants, mode), default=0.0) for mode in MODES}
    return [
        c for c in contestants
        if not c.durations_us or c.side != "peer" or statistics.median(c.durations_us) <= NEAR_BEST * best[c.mode]
    ]


def medians(contestants, mode, side="peer"):
    return [
        statistics.median(c.durations_us)
        for c in contestants
        if c.durations_us and c.side == side and c.mode == mode and c.precision == "f32"
    ]


def best_so_far(contestants):
    """`dynamic 998 (ours 620), static 763 (ours 540) µs`"""
    words = []
    for mode in MODES:
        theirs, mine = (min(medians(contestants, mode, side), default=None) for side in ("peer", "dyconv"))
        if theirs is not None or mine is not None:
            show = lambda value: "–" if value is None else f"{value:.0f}"
            words.append(f"{mode} {show(theirs)} (ours {show(mine)})")
    return ", ".join(words) + " µs" if words else "nothing yet"
