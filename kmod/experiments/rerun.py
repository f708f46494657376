"""Make recorded runs again, drawn at random, and compare: do the records hold on this machine?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from tqdm.auto import tqdm

from ..checks import brief, check_whole
from . import records
from .cost import Estimate, here, text
from .groups import work
from .machine import tensor_cores
from .runner import KEPT
from .settings import Setting
from .starts import Bench, kept

SHOWN = {"A_M": "A_M", "A_FS": "A_F∖S", "A_mean": "Ā", "added": "added"}
"""Metrics that a line of the comparison shows, where a run has them, and the name it shows."""


@dataclass(frozen=True)
class Again:
    """A record, and the record of the same setting made here."""

    old: dict
    new: dict

    @property
    def failed(self) -> str:
        """Why the run could not be made again; empty if it was."""
        return "" if self.new["status"] == "done" else self.new.get("reason") or self.new["status"]

    @property
    def same_start(self) -> bool:
        """Whether both began from the same weights, to the bit."""
        return bool(self.old.get("model")) and self.old.get("model") == self.new.get("model")

    @property
    def same_facts(self) -> bool:
        """Whether both changed the same facts to the same objects."""
        return self.old.get("change") == self.new.get("change")

    def values(self) -> dict[str, tuple[float, float]]:
        """Metric → its value then and now, for those that both records have."""
        both = self.old["metrics"].keys() & self.new["metrics"].keys() if not self.failed else ()
        pairs = {name: (records.metric(self.old, name), records.metric(self.new, name)) for name in sorted(both)}
        return {name: pair for name, pair in pairs.items() if None not in pair}

    @property
    def identical(self) -> bool:
        """Whether every metric is the same number."""
        return not self.failed and all(then == now for then, now in self.values().values())

    @property
    def apart(self) -> float:
        """How far Ā moved, between 0 and 1 (of a run without Ā, the shown metric that moved most)."""
        moved = {name: abs(then - now) for name, (then, now) in self.values().items() if name in SHOWN}
        return moved.get("A_mean", max(moved.values(), default=0.0))

    @property
    def within(self) -> bool:
        """Whether each shown rate lies in the interval over facts that the record gives it."""
        rates = {name: self.old["metrics"][name] for name in self.values() if name in SHOWN}
        intervals = {name: rate for name, rate in rates.items() if isinstance(rate, dict) and "low" in rate}
        return all(rate["low"] <= self.values()[name][1] <= rate["high"] for name, rate in intervals.items())

    def __str__(self) -> str:
        run = Setting(**self.old["settings"])
        head = f"{self.old['id']}  {self.old.get('suite', '')}: {run.label}, seed {run.seed}"
        if self.failed:
            return f"{head}\n  not made: {self.failed}"
        pairs = {name: pair for name, pair in self.values().items() if name in SHOWN}
        moved = ", ".join(f"{SHOWN[name]} {100 * then:.1f} → {100 * now:.1f}" for name, (then, now) in pairs.items())
        start = "the same start to the bit" if self.same_start else "another start (its training differs here)"
        facts = "" if self.same_facts else ", other facts drawn"
        same = "identical in every metric" if self.identical else f"Ā moved by {100 * self.apart:.1f} points"
        return f"{head}\n  {start}{facts}: {moved} (%); {same}"

    def record(self) -> dict:
        """The comparison as a line of JSON."""
        kept = {"id": self.old["id"], "suite": self.old.get("suite"), "settings": self.old["settings"]}
        kept |= {"then": self.old["metrics"], "now": self.new["metrics"], "failed": self.failed}
        kept |= {"same_start": self.same_start, "same_facts": self.same_facts, "identical": self.identical}
        return kept | {name: self.new.get(name) for name in ("hardware", "versions", "commit", "dirty", "time")}


def sample(out: Path, n: int, seed: int = 0, suites: Sequence[str] = ()) -> list[dict]:
    """`n` of the finished records under `out`, drawn at random: those of `suites`, or of all. Raises ValueError if
    there are none."""
    found = [r for r in records.read(out) if r["status"] == "done" and (not suites or r.get("suite") in suites)]
    if not found:
        raise ValueError(brief(f"{out} has no finished run{' of ' + ', '.join(suites) if suites else ''}"))
    found.sort(key=lambda record: record["id"])
    return random.Random(seed).sample(found, min(check_whole("sample", n), len(found)))


def rerun(drawn: Sequence[dict], tell: Callable[[str], None] = print, progress: bool = True) -> Iterator[Again]:
    """Make the runs of these records again, those of one starting state after each other. Nothing is recorded."""
    runs = {record["id"]: Setting(**record["settings"]) for record in drawn}
    states = {state for run in runs.values() for state in (run.state.reference, run.state)}
    bench, order = Bench(), sorted(drawn, key=lambda record: str(runs[record["id"]].state))
    with tensor_cores():  # before the device is measured
        estimate = Estimate(drawn, here())
        training = sum(KEPT if kept(state) else estimate.state(state) for state in states)
        seconds = training + sum(map(estimate.run, runs.values()))
        tell(f"{len(drawn)} runs: about {text(seconds)}, of which {text(training)} for {len(states)} starting states")
        for old in tqdm(order, desc="runs", disable=None if progress else True):
            *_, new = work(bench, [runs[old["id"]]])
            yield Again(old, new)


def summary(made: Sequence[Again]) -> str:
    """What the comparisons say together."""
    done = [again for again in made if not again.failed]
    if not done:
        return f"none of {len(made)} could be made again"
    identical, other = [a for a in done if a.identical], [a for a in done if not a.identical]
    same = [a for a in done if a.same_start]
    words = [f"{len(done)} of {len(made)} made again: {len(identical)} identical in every metric"]
    words += [f"{sum(a.identical for a in same)} of the {len(same)} with the same start to the bit"]
    if other:
        moved = [100 * a.apart for a in other]
        words += [f"{len(other)} others moved by {fmean(moved):.1f} points of Ā on average, {max(moved):.1f} at most"]
    words += [f"{sum(a.within for a in done)} within the record's own interval over facts"]
    return "; ".join(words)
