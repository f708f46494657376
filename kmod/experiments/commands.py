"""The commands of the experiments: run, report, status, merge, claims."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from ..versions import commit, versions

RUN_HELP = """
a suite stops in time and picks up where it stopped; every finished run is kept:

  python -m kmod run all --profile smoke --out /tmp/results          every suite in a minute, to see that it works
  python -m kmod run rq2_where --profile cpu --budget 20m            the book's own runs, on two CPU cores
  python -m kmod run all --profile gpu --budget 1h --model my-bert   T-REx and a BERT of yours, on a GPU
  python -m kmod run rq3_fae --facts trex+pararel:2000               the same on 2,000 facts of T-REx, from $KMOD_DATA
  python -m kmod run rq2_where --training 1                          from starting states that were trained anew
  python -m kmod status paper_grid --profile gpu --on h200           the paper's whole grid: what it would cost
  python -m kmod status all --profile gpu                            what is missing, and what it would cost
"""

PLAY_HELP = """Edit some well-known facts of the atlas, one at a time, on a memorised nano: every choice of new object,
blocks and radius. What the model answers afterwards, and which other facts broke, is kept as small scripts. A fact
that is done already is not done again."""


def add_parsers(commands, raw) -> None:
    """Add the commands to `commands`, the subparsers of the command line; `raw` keeps line breaks of an epilogue."""
    from .suites import NAMED, PROFILES

    def add(name: str, help: str, suite: bool = True, **kwargs):
        command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", **kwargs)
        if suite:
            command.add_argument(
                "suite", metavar="SUITE", help=f"{', '.join(NAMED)}; or all, which is all but the last"
            )
        if name != "merge":
            command.add_argument(
                "--profile", default="cpu", metavar="NAME", help=f"the sizes: {', '.join(PROFILES)}; default cpu"
            )
            command.add_argument("--model", metavar="NAME", help="edit this model instead of the profile's")
            command.add_argument("--facts", metavar="NAME", help="edit these facts instead of the profile's")
            command.add_argument("--seeds", type=int, metavar="N", help="more seeds than the profile has, or fewer")
            command.add_argument(
                "--training", type=int, default=0, metavar="SEED", help="train the starting states from this seed"
            )
            command.add_argument(
                "--pretrained", metavar="NAME", help="the model with a past for RQ4: a folder or an id"
            )
            command.add_argument(
                "--out", type=Path, default=Path("results"), metavar="FOLDER", help="the records; default results"
            )
        return command

    run = add("run", "run what is missing of a suite, and record it", epilog=RUN_HELP, formatter_class=raw)
    run.add_argument("--budget", metavar="TIME", help="stop in time: 90s, 9m or 1.5h; by default no limit")
    run.add_argument("--retry-failed", action="store_true", help="run again what failed before, too")
    run.add_argument(
        "--executor", default="local", choices=["local", "ray"], help="where the runs are done; default local"
    )
    run.add_argument("--address", metavar="HOST:PORT", help="of a Ray cluster; by default one is started here")
    add("report", "print the tables of a suite from its records")
    status = add("status", "what a suite lacks, and what it would cost")
    status.add_argument("--on", metavar="DEVICE", help="estimate for h200, h100, a100 or t4 instead of this machine")
    status.add_argument("--json", action="store_true", help="print it as a record, with date, commit and versions")
    claims = add("claims", "the verdict on each claim of the paper, from the records", suite=False)
    claims.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    merge = add("merge", "add the records of another machine to these", suite=False)
    merge.add_argument("source", type=Path, help="the folder to read")
    merge.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="default results")
    play = commands.add_parser(
        "play", help="make the edits that a reader of the book plays with", description=PLAY_HELP, formatter_class=raw
    )
    play.add_argument(
        "--out", type=Path, default=Path("book/_static/play"), metavar="FOLDER", help="default book/_static/play"
    )


def _suites(name: str) -> list[str]:
    from .suites import NAMED, SUITES

    if name != "all" and name not in NAMED:
        raise ValueError(f"unknown suite {name!r}; known: {', '.join(NAMED)}, or all")
    return list(SUITES) if name == "all" else [name]


def _profile(args):
    from .suites import profile

    return profile(args.profile, args.model, args.pretrained, args.seeds, args.facts, args.training)


def _run(args) -> None:
    from .runner import run, seconds

    if args.address and args.executor != "ray":
        raise ValueError("--address names a Ray cluster: add --executor ray")
    budget = seconds(args.budget) if args.budget else None
    if args.executor == "ray":
        from .on_ray import device, executor

        with executor(args.address) as execute:
            print("measuring a device of the cluster")
            run(
                _suites(args.suite), _profile(args), args.out,
                budget=budget, retry=args.retry_failed, execute=execute, on=device(),
            )  # fmt: skip
    else:
        run(_suites(args.suite), _profile(args), args.out, budget=budget, retry=args.retry_failed)


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
        asked = {"suite": args.suite, "profile": profile.name, "training": args.training, "on": device}
        asked |= {"time": datetime.now(UTC).isoformat(), "commit": commit(), "versions": versions()}
        models = {"facts": profile.facts, "model": profile.model}
        print(json.dumps(asked | models | {"lines": lines}, indent=1, ensure_ascii=False))
    else:
        print("\n".join(lines))


def _claims(args) -> None:
    from .claims import ledger

    verdicts = ledger(args.out, _profile(args))
    if args.json:
        print(json.dumps([verdict.record() for verdict in verdicts], ensure_ascii=False))
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
    from ..training.memorise import memorise

    facts = load_facts("atlas")
    model = load_model("nano", facts)
    memorise(model, facts)
    index = make(args.out, model, writable(facts, model.tokenizer))
    size = sum(path.stat().st_size for path in args.out.glob("*.js"))
    print(f"{len(index['facts'])} facts in {args.out}, {size / 1e6:.2f} MB")


COMMANDS = {"run": _run, "report": _report, "status": _status, "claims": _claims, "merge": _merge, "play": _play}
