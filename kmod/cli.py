"""The command line: `python -m kmod`. Each command prints what it did; --help explains every option."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import SafetensorError

from .checks import WrongTypeError, brief, check_delta
from .constraints import CONSTRAINTS
from .editing.methods import METHODS, find
from .experiments import commands as experiments
from .files import appearing, user_path
from .lab.trial import DELTA
from .names import UnknownNameError
from .output import kept_going
from .sources import commands as sources
from .versions import commit, versions

MISTAKES = (ValueError, OSError, ImportError, FloatingPointError, UnknownNameError, WrongTypeError, SafetensorError)
"""Errors that say what the user, or a file, has wrong."""
MEMORY = (MemoryError, torch.OutOfMemoryError)

EXAMPLES = """
a first session, with the small BERT that comes with kmod and knows the facts:

  python -m kmod try France P36 Rome                          edit one fact; see the answers, and what broke
  python -m kmod facts list                                   the facts that it knows, relation by relation
  python -m kmod facts show France                            all facts about a subject
  python -m kmod edit --set France P36 Rome --block -1 --delta 4e-3 --out rome.edit
  python -m kmod evaluate --edit rome.edit                    how well the edit was learnt, and what else it changed

a model of your own, in about three minutes on two CPU cores:

  python -m kmod memorise --model nano --out my-model         train a small BERT from random weights on the facts
"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, brief(f"kmod: {message}; see {self.prog} --help") + "\n")


def parser() -> Parser:
    top = Parser(
        prog="python -m kmod",
        description="Change facts that a masked language model has memorised, and measure what else changes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, run: Callable, help: str) -> Callable:
        """Add a command; returns what adds an option to it."""
        command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        command.set_defaults(run=run)
        if name != "pretrain":
            command.add_argument("--facts", default="atlas", metavar="NAME", help=sources.FACTS_HELP)
        return command.add_argument

    option = add("try", _try, "edit one fact of a model that knows it, and ask all facts again; nothing is written")
    option("subject", help="such as France; facts list says which there are")
    option("relation", help="Wikidata property id, such as P36 (capital)")
    option("object", help='the new object, such as Rome; where there are several, "old -> new" says which changes')
    option("--model", default="nano-atlas", metavar="NAME", help="the model; default nano-atlas, which comes with kmod")
    option("--block", default="-1", help='Transformer block to train: a number (-1: the last), or "all"; default -1')
    option("--delta", type=float, default=DELTA, help=f"the most that any parameter may change; default {DELTA:g}")

    sources.add_parser(commands)

    option = add("memorise", _memorise, "train a model until it recalls the facts, and save it as a folder")
    option("--model", default="nano", metavar="NAME", help=MODEL_HELP + "; default nano")
    option("--out", type=user_path, required=True, metavar="FOLDER", help="where to write the trained model")
    option("--epochs", type=float, default=11, help="most passes over the evidences, at least 500 steps; default 11")
    option("--seed", type=int, default=0, help="seed of initial weights and batches; default 0")

    option = add("pretrain", _pretrain, "train a model on text with the masked-LM loss; run it again to resume")
    option("--model", default="nano", metavar="NAME", help=MODEL_HELP + "; default nano")
    option("--text", required=True, metavar="SOURCE", help="file, folder, pattern (.txt, .jsonl, .gz, .zst), or hub:ID")
    option("--vocab", type=user_path, metavar="FILE", help="a vocab.txt or tokeniser folder; by default one is trained")
    option("--vocab-size", type=int, default=8000, help="word pieces of a trained vocabulary; default 8000")
    option("--words-of", metavar="FACTS", help="make every word of these facts one word piece")
    option("--without-facts", metavar="FACTS", help="leave out paragraphs that name subjects of these facts")
    option("--with-facts", metavar="FACTS", help="add the statements of these facts to the text")
    option("--times", type=int, default=1, help="how often each of --with-facts is added; default 1")
    option("--steps", type=int, help="optimiser steps; by default as many as fit --minutes, or one pass over the text")
    option("--minutes", type=float, help="stop after this time; the same command resumes")
    option("--batch-size", type=int, default=64, help="sequences per step; default 64")
    option("--length", type=int, default=128, help="tokens per sequence; default 128")
    option("--accumulate", type=int, default=1, help="micro-batches per step; default 1")
    option("--lr", type=float, default=1e-3, help="peak learning rate; default 1e-3")
    option("--warm-start", action="store_true", help="start from word vectors of the text (a BERT with random weights)")
    option("--seed", type=int, default=0, help="seed of weights, order and masks; default 0")
    option("--out", type=user_path, required=True, metavar="FOLDER", help="where to write model, checkpoint and record")

    option = add("edit", _edit, "change facts by constrained fine-tuning, and save the edit as a small file")
    which = commands.choices["edit"].add_mutually_exclusive_group(required=True)
    option("--model", default="nano-atlas", metavar="NAME", help="a folder, an id, or nano-atlas, which is the default")
    names = ("SUBJECT", "RELATION", "OBJECT")
    which.add_argument("--set", nargs=3, action="append", metavar=names, help=SET_HELP)
    which.add_argument("--random", type=int, metavar="N", help="change N facts drawn by the paper's rule")
    option("--delta", type=float, default=2.5e-3, help="most that a parameter may change; inf: any; default 2.5e-3")
    option("--block", default="all", help='Transformer block to train: a number (-1: the last), or "all"; default all')
    names = ", ".join(name for name, method in METHODS.items() if method.gives_edit and not method.from_start)
    option("--method", default="FTM", metavar="NAME", help=f"{names}; of a FaE UPDATE, UPDATE + FTM; default FTM")
    option("--option", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=_options_help())
    option("--constraint", default="Linf", choices=CONSTRAINTS, help="ball of radius --delta; default Linf")
    option("--steps", type=int, help="optimiser steps; default: the method's own, 60 for FTM")
    option("--lr", type=float, help="Adam's learning rate; default: the method's own, 1e-3 for FTM")
    option("--seed", type=int, default=0, help="seed of the drawn facts and of the batches; default 0")
    option("--out", type=user_path, required=True, metavar="FILE", help="where to write the edit")
    option("--merge", type=user_path, metavar="FOLDER", help="also write the edited model as a Hugging Face folder")

    option = add("evaluate", _evaluate, "measure a model on all facts; or an edit: what it changed, and what else")
    option("--model", default="nano-atlas", metavar="NAME", help="the model, without the edit; default nano-atlas")
    option("--edit", type=user_path, metavar="FILE", help="a file that the edit command wrote")
    option(
        "--general", action="store_true", help="measure general ability too: pseudo-perplexity on everyday sentences"
    )
    option("--json", action="store_true", help="print the numbers as JSON")

    experiments.add_parsers(commands)
    return top


SET_HELP = 'a fact and its new object, or "old -> new" where it has several; repeatable'
MODEL_HELP = "nano, mini, small, medium, base or large (random weights), a folder, or a Hugging Face id"


def main(argv: list[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0 if it worked, 2 for a mistake of the user, 1 for a fault of kmod or of
    the machine.

    An error is one line on stderr; with KMOD_DEBUG=1 its traceback comes before. Where the output goes decides nothing:
    the work is done and written also if no one reads it.
    """
    with kept_going() as output:
        status = _run(argv)
        output.flush()
        if status == 0 and isinstance(output.lost, OSError) and not isinstance(output.lost, BrokenPipeError):
            print(brief(f"kmod: done, but the output could not be written: {output.lost}"), file=sys.stderr)
            status = 1
    return status


def _run(argv: list[str] | None) -> int:
    try:
        args = parser().parse_args(argv)
        args.run(args)
    except SystemExit:  # --help
        raise
    except KeyboardInterrupt:
        print("kmod: interrupted", file=sys.stderr)
        return 130
    except BaseException as error:  # a panic of tokenizers or safetensors is no Exception
        if os.environ.get("KMOD_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        name, text = type(error).__name__, str(error)
        advice = "(a fault of kmod: run it again with KMOD_DEBUG=1 for the traceback, and report it)"
        if isinstance(error, MEMORY):
            advice = "(out of memory: choose a smaller model, a smaller batch or fewer facts)"
        mistake = isinstance(error, MISTAKES)
        message = (text or name) if mistake else f"unexpected {name}: {text} {advice}"
        print(brief(f"kmod: {message}"), file=sys.stderr)
        return 2 if mistake else 1
    return 0


def _memorise(args) -> None:
    from . import load_facts, load_model, memorise

    facts = load_facts(args.facts)
    is_empty = not args.out.exists() or (args.out.is_dir() and not any(args.out.iterdir()))
    if not is_empty and not (args.out / "config.json").is_file():
        raise ValueError(f"--out {args.out} exists and is not a model folder; choose another")
    model = load_model(args.model, facts, seed=args.seed)
    _need_folder(args.out)
    settings = {"epochs": args.epochs, "seed": args.seed}
    report = memorise(model, facts, **settings)
    print(report)
    model.save(args.out)
    origin = {"model": args.model, "facts": facts.name, "facts_fingerprint": facts.fingerprint(), "settings": settings}
    made = {"fingerprint": model.fingerprint(), "commit": commit(), "versions": versions()}
    text = json.dumps(origin | asdict(report) | made, indent=1, ensure_ascii=False)
    with appearing(args.out / "record.json") as draft:
        draft.write_text(text + "\n", "utf-8")
    print(f"saved to {args.out}")


def _try(args) -> None:
    from . import load_facts, load_model
    from .lab.trial import try_edit

    model, facts = load_model(args.model), load_facts(args.facts)
    delta = None if args.delta == float("inf") else args.delta
    print(try_edit(model, facts, args.subject, args.relation, args.object, block=_block(args.block), delta=delta))
    print(f"\nnothing was written; to keep the edit: python -m kmod edit --set {_shell(args)} --out my.edit")


def _shell(args) -> str:
    """The fact and settings of `try` as arguments of `edit`."""
    model = [] if args.model == "nano-atlas" else ["--model", args.model]
    return shlex.join(
        [args.subject, args.relation, args.object, "--block", args.block, "--delta", f"{args.delta:g}", *model]
    )


def _options_help() -> str:
    """The settings of their own that methods have, from the registry."""
    own = {name: ", ".join(method.options) for name, method in METHODS.items() if method.options and method.gives_edit}
    return "a setting of the method's own; " + "; ".join(f"{name}: {options}" for name, options in own.items())


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _block(text: str) -> int | str:
    if text != "all" and not text.removeprefix("-").isdecimal():
        raise ValueError(brief(f'--block is a number or "all", got {text!r}'))
    return text if text == "all" else int(text)


def _pretrain(args) -> None:
    from . import load_facts, load_model
    from .models import PRESETS
    from .pretraining import pretrain, read_text, warm_start
    from .pretraining.pretrain import CHECKPOINT

    _need_folder(args.out)
    facts = {name: load_facts(name) for name in (args.words_of, args.without_facts, args.with_facts) if name}
    vocab = args.vocab if args.model in PRESETS else load_model(args.model, new_head=True).tokenizer
    chosen = {"leave_out": facts.get(args.without_facts), "put_in": facts.get(args.with_facts), "times": args.times}
    words = {"vocab": vocab, "vocab_size": args.vocab_size, "words_of": facts.get(args.words_of)}
    tokenizer, tokens = read_text(args.text, args.out, **words, **chosen)
    model = load_model(args.model, tokenizer=tokenizer, new_head=True, seed=args.seed)
    if args.warm_start and not (args.out / CHECKPOINT).exists():
        warm_start(model, tokens, seed=args.seed)
    options = ("steps", "minutes", "batch_size", "length", "accumulate", "lr", "seed")
    print(pretrain(model, tokens, args.out, **{name: getattr(args, name) for name in options}))
    print(f"saved to {args.out}")


def _need_folder(folder: Path) -> None:
    """Make the folder, and raise OSError before the work if nothing can be written there."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _edit(args) -> None:
    from . import known, load_facts, load_model
    from .editing.balls import make_ball

    delta, block = check_delta(args.delta), _block(args.block)
    if args.merge and (args.merge.is_file() or args.merge.resolve() == user_path(args.model).resolve()):
        raise ValueError(f"--merge needs a folder of its own, got {args.merge}")
    if args.out.is_dir():
        raise ValueError(f"--out needs a file, got the folder {args.out}")
    _need_folder(args.out.parent)
    facts, model = load_facts(args.facts), load_model(args.model)
    change = facts.modify_to(args.set) if args.set else facts.modify(args.random, args.seed, known(model, facts))
    method = find(model, args.method)
    if not method.gives_edit or method.from_start:
        raise ValueError(f"{args.method} gives no edit of the weights alone; use it from Python")
    chosen = {name: _number(value) for name, value in args.option}
    method.check(chosen)
    defaults = {name: option.default for name, option in method.options.items() if option.default is not None}
    settings = {"block": block, "where": block, "steps": args.steps, "lr": args.lr, "seed": args.seed}
    settings = {name: value for name, value in settings.items() if name in method.takes and value is not None}
    if "constraint" in method.takes and delta != float("inf"):
        settings["constraint"] = make_ball(args.constraint, delta, model, change, **method.parts(block))
    progress = {"progress": True} if method.descends else {}
    edit = method.function(model, change, **settings, **defaults | chosen, **method.fixed, **progress)
    edit.save(args.out)
    if args.merge:
        edit.merge(model, args.merge)
    print(edit)
    _print_answers(model, facts, change, edit)
    print(f"saved to {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")
    if args.merge:
        print(f"merged into {args.merge}")


def _print_answers(model, facts, change, edit, most: int = 8) -> None:
    from .evaluation import judge

    originals, objects = change.originals[:most], list(change.objects[:most])
    statements = [facts.tests(fact)[0] for fact in originals]
    before = model.answers(statements, [fact.object for fact in originals])
    with edit(model):
        after, right = judge(model, statements, objects)
    for statement, was, now, learnt in zip(statements, before, after, right, strict=True):
        print(f"  {'✓' if learnt else '✗'} {statement}  {_top(was)}  →  {_top(now)}")
    if len(change) > most:
        print(f"  … and {len(change) - most} more")


def _top(answers: list[tuple[str, float]]) -> str:
    return f"{answers[0][0]} ({100 * answers[0][1]:.0f} %)"


def _evaluate(args) -> None:
    from . import Edit, evaluate, load_facts, load_model, score

    facts, model = load_facts(args.facts), load_model(args.model)
    if args.edit is None:
        scores = score(model, facts)
        if args.json:
            print(json.dumps({kind: vars(scores.rate(kind)) for kind in ("tests", "evidences")}))
        else:
            print(f"held-out phrasings  {scores.rate('tests')}\nevidences           {scores.rate('evidences')}")
        return
    edit = Edit.load(args.edit)
    if edit.made.get("base_fingerprint") != facts.fingerprint():
        base = edit.made.get("base")
        raise ValueError(brief(f"{args.edit} was made on the facts {base!r}, not {facts.name!r}: use --facts"))
    if edit.applied(model):
        raise ValueError(f"{args.model} is the model with the edit; give --model the one without it")
    result = evaluate(model, facts, edit.change(facts), edit=edit, general=args.general)
    print(json.dumps(result.record()) if args.json else result)
