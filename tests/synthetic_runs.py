"""Records of runs that never ran: for what reads records."""

from dataclasses import replace

from kmod.editing.grids import RATES
from kmod.experiments.settings import Setting
from kmod.experiments.suites import PROFILES, SUITES, Profile, settings

PAST = replace(PROFILES["cpu"], pretrained="nano-wiki")


def record(run: Setting, A_M=0.8, A_FS=0.8, before=0.9, status="done", **others) -> dict:
    rates = {"A_M": A_M, "A_FS": A_FS, "A_FS_before": before, "delta_A_FS": A_FS - before}
    metrics = {name: {"value": value} for name, value in rates.items()} | {"A_mean": (A_M + A_FS) / 2}
    return {
        "schema": 1, "id": run.id, "suite": "rq2_where", "profile": "cpu", "settings": run.record(), "status": status,
        "metrics": metrics if status == "done" else {}, "seconds": {"prepare": 0.0, "edit": 1.0, "evaluate": 1.0},
        "hardware": {"device": "an abacus"}, "reason": "it fell",
    } | others  # fmt: skip


def as_claimed(run: Setting, profile: Profile = PAST) -> dict:
    """The record of a run in a world where every claim holds by a wide margin."""
    few, many = profile.sizes[0], profile.sizes[-1]
    last = run.block == profile.blocks[-1]
    single = isinstance(run.block, int)
    level, before = 0.8, 0.9
    if run.training == "seed":
        return at_equal_care(run)
    if run.method == "kNN":
        return record(run, A_M=0.1, A_FS=0.9)
    if run.constraint is None and run.method in ("FTM", "FTA") and run.start != "RI":
        return record(run, A_M=0.9, A_FS=0.2 if run.method == "FTM" else 0.4)
    if run.method == "UPDATE":
        return record(run, A_M=0.4, A_FS=0.9)
    if run.method == "UPDATE + FTM":
        return record(run, A_M=0.95, A_FS=0.65)
    if run.start == "RI":
        level, before = 0.2, 0.0
    elif run.start == "PT":
        level, before = (0.5 if last else 0.6), 0.3
    elif single:
        level = (0.9 if last else 0.85) if run.n < many else (0.5 if last else 0.6)
    elif run.n == many:
        level = 0.7
    if run.method == "FTA":
        level += 0.005
    if run.model == profile.albert:
        level = 0.4
    radii = {"L2": profile.l2, "Fisher": profile.fisher}.get(run.constraint, profile.radii(run.block))
    if run.delta in radii:
        off = abs(radii.index(run.delta) - 3)
        level -= off * (0.05 if run.constraint == "L2" else 0.01) + (0.05 if run.constraint == "Fisher" else 0)
    assert few < profile.n < many
    level = max(0.0, level + 0.002 * run.seed)
    return record(run, level, level, before)


def at_equal_care(run: Setting) -> dict:
    """Editors with a setting of their own: ℓ∞ is the best, and alone does not hang on the learning rate."""
    off = RATES.index(run.lr) != 1
    level = {"Linf": 0.85, "L2": 0.8 - 0.2 * off, "Fisher": 0.8, "KFAC": 0.8, None: 0.5 - 0.1 * off}[run.constraint]
    return record(run, A_M=level, A_FS=level)


def runs(profile: Profile = PAST) -> list[Setting]:
    """Every run of every suite, once."""
    return list(dict.fromkeys(run for suite in SUITES for run in settings(suite, profile)))


def careful_runs(profile: Profile = PAST) -> list[Setting]:
    """The runs of the suite `methods` that claims are about, at the profile's seeds."""
    every = (run for run in settings("methods", profile) if run.method in ("FTM", "FTA") and run.n == profile.n)
    return [run for run in every if run.seed in profile.seeds]
