"""The commands of the experiments: run, rerun, report, status, claims, merge, play."""

from __future__ import annotations

import json
import os
from argparse import RawDescriptionHelpFormatter
from datetime import UTC, datetime
from pathlib import Path

from ..checks import brief
from ..files import user_path
from ..versions import commit, versions

RUN_HELP = """
a suite can be stopped at any time and resumes where it stopped; every finished run is kept:

  python -m kmod run all --profile smoke --out /tmp/results          every suite in a minute, to see that it works
  python -m kmod run rq2_where --profile cpu --budget 20m            the book's own runs, on two CPU cores
  python -m kmod run all --profile gpu --budget 1h --model my-bert   T-REx and your own BERT, on a GPU
  python -m kmod run rq3_fae --facts trex+pararel:2000               on 2,000 facts of T-REx, from $KMOD_DATA
  python -m kmod run rq2_where --training 1                          from starting states of another seed
  python -m kmod run rq2_where --training seed                       each seed from starting states of its own
  python -m kmod status paper_grid --profile gpu --on h200           what the paper's whole grid would cost
  python -m kmod status all --profile gpu                            what is missing, and what it would cost
"""

PLAY_HELP = """Edit some well-known facts of the atlas, one at a time, on a memorised nano, with every choice of new
object, blocks and radius. The model's answers afterwards, and the other facts that broke, are kept as small scripts.
Facts that are done already are skipped."""


def add_parsers(commands) -> None:
    """Add the commands to `commands`, the subparsers of the command line."""
    from .settings import OWN
    from .suites import NAMED, PROFILES

    def add(name: str, run, help: str, suite: bool = True, epilog: str | None = None, sizes: bool = True):
        description = help[0].upper() + help[1:] + "."
        command = commands.add_parser(
            name, help=help, description=description, epilog=epilog, formatter_class=RawDescriptionHelpFormatter
        )
        command.set_defaults(run=run)
        option = command.add_argument
        if suite:
            option("suite", metavar="SUITE", help=f"{', '.join(NAMED)}; or all, which means all but the last")
        if sizes:
            known = f"sizes: {', '.join(PROFILES)}; default $KMOD_PROFILE, else cpu"
            option("--profile", default=os.environ.get("KMOD_PROFILE") or "cpu", metavar="NAME", help=known)
            option("--model", metavar="NAME", help="edit this model instead of the profile's")
            option("--facts", metavar="NAME", help="edit these facts instead of the profile's")
            option("--seeds", type=int, metavar="N", help="this many seeds instead of the profile's")
            which = f"seed of the starting states, default 0; {OWN!r}: a training for each seed of a run"
            option("--training", type=training, default=0, metavar="SEED", help=which)
            option("--pretrained", metavar="NAME", help="the pretrained model for RQ4: a folder, or a Hugging Face id")
        folder, kept = os.environ.get("KMOD_RESULTS") or "results", "the records; default $KMOD_RESULTS, else results"
        option("--out", type=user_path, default=folder, metavar="FOLDER", help=kept)
        return command

    run = add("run", _run, "do the missing runs of a suite, and record them", epilog=RUN_HELP)
    run.add_argument("--budget", metavar="TIME", help="stop after this time: 90s, 9m or 1.5h; by default no limit")
    run.add_argument("--retry-failed", action="store_true", help="also repeat runs that failed before")
    run.add_argument("--executor", default="local", choices=["local", "ray"], help="where to run; default local")
    run.add_argument("--address", metavar="HOST:PORT", help="of a Ray cluster; by default one is started here")
    again = add("rerun", _rerun, "make recorded runs again, drawn at random, and compare", suite=False, sizes=False)
    again.add_argument("--sample", type=int, default=10, metavar="N", help="how many runs; default 10")
    again.add_argument("--seed", type=int, default=0, help="of the draw; default 0")
    again.add_argument("--suite", action="append", default=[], metavar="SUITE", help="of this suite; may be repeated")
    again.add_argument("--json", type=user_path, metavar="FILE", help="append the comparisons to this file")
    add("report", _report, "print the tables of a suite from its records")
    status = add("status", _status, "print which runs of a suite are missing, and what they would cost")
    status.add_argument("--on", metavar="DEVICE", help="estimate for h200, h100, a100 or t4 instead of this machine")
    status.add_argument("--json", action="store_true", help="print a record, with date, commit and versions")
    claims = add("claims", _claims, "print the verdict on each claim of the paper, from the records", suite=False)
    claims.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    merge = add("merge", _merge, "add the records of another machine to these", suite=False, sizes=False)
    merge.add_argument("source", type=user_path, help="the folder to read")
    play = commands.add_parser("play", help="make the edits that readers of the book try out", description=PLAY_HELP)
    play.set_defaults(run=_play)
    folder = "book/_static/play"
    play.add_argument("--out", type=user_path, default=Path(folder), metavar="FOLDER", help=f"default {folder}")


def training(text: str) -> int | str:
    from .settings import OWN

    return text if text == OWN else int(text)


def _suites(name: str) -> list[str]:
    from .suites import NAMED, SUITES

    if name != "all" and name not in NAMED:
        raise ValueError(brief(f"unknown suite {name!r}; known: {', '.join(NAMED)}, or all"))
    return list(SUITES) if name == "all" else [name]


def _profile(args):
    from .suites import profile

    return profile(args.profile, args.model, args.pretrained, args.seeds, args.facts, args.training)


def _run(args) -> None:
    from .runner import run, seconds

    if args.address and args.executor != "ray":
        raise ValueError("--address is for a Ray cluster: add --executor ray")
    options = {"budget": seconds(args.budget) if args.budget else None, "retry": args.retry_failed}
    if args.executor == "ray":
        from .on_ray import device, executor

        with executor(args.address) as execute:
            print("measuring a device of the cluster")
            run(_suites(args.suite), _profile(args), args.out, **options, execute=execute, on=device())
    else:
        run(_suites(args.suite), _profile(args), args.out, **options)


def _rerun(args) -> None:
    from ..files import append
    from .rerun import rerun, sample, summary

    made = []
    for again in rerun(sample(args.out, args.sample, args.seed, args.suite)):
        made.append(again)
        print(f"{again}\n", flush=True)
        if args.json:
            append(args.json, [again.record()])
    print(summary(made))


def _report(args) -> None:
    from .report import table

    for suite in _suites(args.suite):
        print(f"{suite}\n\n{table(suite, _profile(args), args.out)}\n")


def _status(args) -> None:
    from .cost import here
    from .machine import tensor_cores
    from .runner import plan

    profile, suites = _profile(args), _suites(args.suite)
    with tensor_cores():
        lines = [f"{suite} ({profile.name}): {plan([suite], profile, args.out, args.on)}" for suite in suites]
        if args.suite == "all":
            lines.append(f"all: {plan(suites, profile, args.out, args.on)}")
        device = args.on or here().name
    if args.json:
        record = {"suite": args.suite, "profile": profile.name, "training": args.training, "on": device}
        record |= {"time": datetime.now(UTC).isoformat(), "commit": commit(), "versions": versions()}
        record |= {"facts": profile.facts, "model": profile.model, "lines": lines}
        print(json.dumps(record, indent=1))
    else:
        print("\n".join(lines))


def _claims(args) -> None:
    from .claims import ledger

    verdicts = ledger(args.out, _profile(args))
    if args.json:
        print(json.dumps([verdict.record() for verdict in verdicts]))
    else:
        print("\n\n".join(map(str, verdicts)))


def _merge(args) -> None:
    from .known import keep, stored
    from .records import merge

    if not args.source.is_dir():
        raise ValueError(f"{args.source} is no folder of records")
    print(f"{merge(args.source, args.out)} new records in {args.out}")
    keep(args.out, *stored(args.source))


def _play(args) -> None:
    from ..models import load_model
    from ..play import make
    from ..sources import load_facts, writable

    facts, model = load_facts("atlas"), load_model("nano-atlas")
    index = make(args.out, model, writable(facts, model.tokenizer))
    size = sum(path.stat().st_size for path in args.out.glob("*.js"))
    print(f"{len(index['facts'])} facts in {args.out}, {size / 1e6:.2f} MB")
