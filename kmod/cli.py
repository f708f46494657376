"""The command line: `python -m kmod`. Each command prints what it did; --help says what every option means."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from .experiments import commands as experiments

EXAMPLES = """
a first session, in about three minutes on two CPU cores:

  python -m kmod facts list                                   what can be memorised, relation by relation
  python -m kmod facts show France                            all that is known of a subject
  python -m kmod memorise --model nano --out my-model         train a small BERT from random weights on the facts
  python -m kmod edit --model my-model --set France P36 Rome --block -1 --delta 3e-3 --out rome.edit
  python -m kmod evaluate --model my-model --edit rome.edit   what the edit changed, and what it should not have
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m kmod",
        description="Change facts that a masked language model has memorised, and see what else changes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    facts_help = (
        "fact base: atlas (some 2,200 well-known facts), bios:N (N generated people), trex, zsre, counterfact (read "
        "from the folder $KMOD_DATA; trex:2000 is a sample), or a table of your own (.csv, .tsv, .json, .jsonl); "
        "default atlas"
    )

    def add(name: str, help: str, **kwargs) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", **kwargs)
        if name not in ("facts", "pretrain"):
            command.add_argument("--facts", default="atlas", metavar="NAME", help=facts_help)
        return command

    facts = add(
        "facts", "list the relations or facts of a fact base, show what is known of a subject, count the sources"
    )
    verbs = facts.add_subparsers(dest="verb", required=True, metavar="list|show|count|sets")
    lists = verbs.add_parser("list", help="the relations; or, given a relation such as P36, its facts")
    lists.add_argument("relation", nargs="?", help="Wikidata property id, such as P36 (capital)")
    show = verbs.add_parser("show", help="all facts about a subject, with their evidences and tests")
    show.add_argument("subject", help='such as France, or "Marie Curie"')
    counts = verbs.add_parser("count", help="facts, relations, evidences and tests, beside the paper's figures")
    counts.add_argument("--out", type=Path, metavar="FILE", help="also append the counts to FILE, a line of JSON each")
    sets = verbs.add_parser("sets", help="draw the modification sets of record again, and compare their checksums")
    sets.add_argument("--write", action="store_true", help="record them anew instead of comparing")
    for verb in (lists, show):
        verb.add_argument("--facts", default="atlas", metavar="NAME", help=facts_help)
    for verb in (counts, sets):
        verb.add_argument("--facts", nargs="+", default=["atlas"], metavar="NAME", help="one or more: " + facts_help)

    memorise = add("memorise", "train a model on the facts until it recalls them, and save it as a Hugging Face folder")
    memorise.add_argument("--model", default="nano", metavar="NAME", help=MODEL_HELP + "; default nano")
    memorise.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write the trained model")
    memorise.add_argument(
        "--epochs",
        type=float,
        default=None,
        help="at most this many passes over the evidences, or 500 steps if that is more; default 11",
    )
    memorise.add_argument("--seed", type=int, default=0, help="of the initial weights and of the batches; default 0")

    pretrain = add("pretrain", "train a model on text with the masked-LM loss; run again, it goes on where it stopped")
    pretrain.add_argument("--model", default="nano", metavar="NAME", help=MODEL_HELP + "; default nano")
    pretrain.add_argument(
        "--text",
        required=True,
        metavar="SOURCE",
        help="a file, a folder or a pattern of .txt or .jsonl files (.gz and .zst too), or hub:ID of a dataset",
    )
    pretrain.add_argument(
        "--vocab",
        type=Path,
        metavar="FILE",
        help="a vocab.txt or a tokeniser's folder, for random weights; by default one is trained on the text",
    )
    pretrain.add_argument("--vocab-size", type=int, default=8000, help="pieces of a trained vocabulary; default 8000")
    pretrain.add_argument("--words-of", metavar="FACTS", help="give every word of these facts a piece of its own")
    pretrain.add_argument("--without-facts", metavar="FACTS", help="leave out the paragraphs that name their subjects")
    pretrain.add_argument("--with-facts", metavar="FACTS", help="put these facts among the text, --times times each")
    pretrain.add_argument("--times", type=int, default=1, help="see --with-facts; default 1")
    pretrain.add_argument("--steps", type=int, help="by default as many as fit --minutes, or one pass over the text")
    pretrain.add_argument("--minutes", type=float, help="stop in time; the same command then goes on")
    pretrain.add_argument("--batch-size", type=int, default=64, help="sequences a step; default 64")
    pretrain.add_argument("--length", type=int, default=128, help="tokens a sequence; default 128")
    pretrain.add_argument("--accumulate", type=int, default=1, help="micro-batches a step; default 1")
    pretrain.add_argument("--lr", type=float, default=1e-3, help="peak learning rate; default 1e-3")
    pretrain.add_argument(
        "--warm-start",
        action="store_true",
        help="begin from word vectors of the text, and attention to neighbours (for a BERT of random weights)",
    )
    pretrain.add_argument("--seed", type=int, default=0, help="of weights, order and masks; default 0")
    pretrain.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="model, checkpoint and record")

    edit = add(
        "edit", "change facts of a memorised model by constrained fine-tuning, and save the edit as a small file"
    )
    edit.add_argument(
        "--model", required=True, metavar="FOLDER", help="the model that memorise wrote, or any masked LM"
    )
    what = edit.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--set",
        nargs=3,
        action="append",
        metavar=("SUBJECT", "RELATION", "OBJECT"),
        help="a fact to change and its new object, such as --set France P36 Rome; may be given several times",
    )
    what.add_argument("--random", type=int, metavar="N", help="change N facts drawn by the paper's rules")
    edit.add_argument(
        "--delta",
        type=float,
        default=2.5e-3,
        help="no parameter moves further than this; inf for no constraint; default 2.5e-3",
    )
    edit.add_argument(
        "--block", default="all", help='Transformer block to train, such as 0 or -1 (the last), or "all"; default all'
    )
    edit.add_argument("--steps", type=int, default=60, help="optimiser steps; default 60")
    edit.add_argument("--lr", type=float, default=1e-3, help="Adam's learning rate; default 1e-3")
    edit.add_argument("--seed", type=int, default=0, help="of the drawn facts and of the batches; default 0")
    edit.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write the edit")
    edit.add_argument(
        "--merge", type=Path, metavar="FOLDER", help="also write the edited model as a Hugging Face folder"
    )

    evaluate = add("evaluate", "measure a model on all facts; or an edit: what it changed, and what it should not have")
    evaluate.add_argument("--model", required=True, metavar="FOLDER", help="the model, without the edit")
    evaluate.add_argument("--edit", type=Path, metavar="FILE", help="an edit that the edit command wrote")
    evaluate.add_argument("--json", action="store_true", help="print the numbers as JSON")

    experiments.add_parsers(commands, argparse.RawDescriptionHelpFormatter)
    return top


MODEL_HELP = "nano, mini, small, medium, base or large (random weights), a folder, or a Hugging Face id"


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 if it worked. What the user got wrong is one line on stderr and exit status 2."""
    args = parser().parse_args(argv)
    try:
        COMMANDS[args.command](args)
    except BrokenPipeError:  # `... | head`; what Python would still flush at exit goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, TypeError, KeyError, OSError, ImportError, FloatingPointError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"kmod: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("kmod: interrupted", file=sys.stderr)
        return 130
    return 0


def _facts(args) -> None:
    from . import load_facts
    from .names import normal

    if args.verb in ("count", "sets"):
        return {"count": _count, "sets": _sets}[args.verb](args)
    base = load_facts(args.facts)
    if args.verb == "show":
        found = [fact for fact in base if normal(fact.subject) == normal(args.subject)]
        if not found:
            raise ValueError(
                f"no facts about {args.subject!r} in {base.name}; see the subjects with: facts list RELATION"
            )
        for fact in found:
            print(f"{fact.relation} {base.relations[fact.relation].label}: {fact.object}")
            for kind in ("evidences", "tests"):
                for statement in getattr(base, kind)(fact):
                    print(f"    {kind[:-1]:9} {statement}")
    elif args.relation is None:
        counts = Counter(fact.relation for fact in base)
        print(f"{base.name}: {len(base):,} facts, {len(counts)} relations")
        for note in base.notes:
            print(f"  {note}")
        for id, n in counts.items():
            relation = base.relations[id]
            name = f"{id:12} {relation.label:36}" if relation.label != id else f"{id:49}"
            print(f"{name} {n:6,} facts   {''.join(relation.tests[:1])}".rstrip())
    else:
        if args.relation not in base.relations:
            raise ValueError(f"unknown relation {args.relation!r}; known: {', '.join(base.relations)}")
        for fact in base:
            if fact.relation == args.relation:
                print(f"{fact.subject}\t{fact.object}")


def _count(args) -> None:
    from . import load_facts
    from .sources import counts

    records = [counts.count(load_facts(name)) for name in args.facts]
    print(*counts.rows(records), "~: recalled from the paper, not checked against its text", sep="\n")
    for record in records:
        for note in record["notes"]:
            print(f"{record['source']}: {note}")
        if args.out and not counts.append(record, args.out):
            print(f"{args.out} has these counts of {record['source']} already")


def _sets(args) -> None:
    from . import load_facts
    from .sources import sets

    bases = [load_facts(name) for name in args.facts]
    if args.write:
        sets.write(bases)
    for base in bases:
        print(*sets.verify(base), sep="\n")


def _memorise(args) -> None:
    from . import load_facts, load_model, memorise

    facts = load_facts(args.facts)
    if (
        args.out.exists()
        and not (args.out / "config.json").is_file()
        and (not args.out.is_dir() or any(args.out.iterdir()))
    ):
        raise ValueError(f"{args.out} exists and is not a model folder; choose another --out")
    model = load_model(args.model, facts, seed=args.seed)
    _need_folder(args.out)
    options = {} if args.epochs is None else {"epochs": args.epochs}
    print(memorise(model, facts, seed=args.seed, **options))
    model.save(args.out)
    print(f"saved to {args.out}")


def _pretrain(args) -> None:
    from . import load_facts, load_model
    from .models import PRESETS
    from .pretraining.corpus import read_text
    from .pretraining.pretrain import CHECKPOINT, pretrain
    from .pretraining.vectors import warm_start

    _need_folder(args.out)
    facts = {name: load_facts(name) for name in (args.words_of, args.without_facts, args.with_facts) if name}
    tokenizer, tokens = read_text(
        args.text,
        args.out,
        vocab=args.vocab if args.model in PRESETS else load_model(args.model, new_head=True).tokenizer,
        vocab_size=args.vocab_size,
        words_of=facts.get(args.words_of),
        leave_out=facts.get(args.without_facts),
        put_in=facts.get(args.with_facts),
        times=args.times,
    )
    model = load_model(args.model, tokenizer=tokenizer, new_head=True, seed=args.seed)
    if args.warm_start and not (args.out / CHECKPOINT).exists():
        warm_start(model, tokens, seed=args.seed)
    options = ("steps", "minutes", "batch_size", "length", "accumulate", "lr", "seed")
    print(pretrain(model, tokens, args.out, **{name: getattr(args, name) for name in options}))
    print(f"saved to {args.out}")


def _need_folder(folder: Path) -> None:
    """Make the folder, and find out that nothing can be written there before the work and not after."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _edit(args) -> None:
    from . import Linf, finetune, known, load_facts, load_model
    from .constraints import check_delta

    constraint = Linf(args.delta) if check_delta(args.delta) != float("inf") else None
    if args.block != "all":
        try:
            args.block = int(args.block)
        except ValueError:
            raise ValueError(f'--block is a number or "all", got {args.block!r}') from None
    if args.merge and (args.merge.is_file() or args.merge.resolve() == Path(args.model).resolve()):
        raise ValueError(f"--merge needs a folder of its own, got {args.merge}")
    if args.out.is_dir():
        raise ValueError(f"--out needs a file, got the folder {args.out}")
    _need_folder(args.out.parent)
    facts, model = load_facts(args.facts), load_model(args.model)
    change = facts.modify_to(args.set) if args.set else facts.modify(args.random, args.seed, known(model, facts))
    edit = finetune(
        model,
        change,
        block=args.block,
        constraint=constraint,
        steps=args.steps,
        lr=args.lr,
        seed=args.seed,
        progress=True,
    )
    edit.save(args.out)
    print(edit)
    _print_answers(model, facts, change, edit)
    print(f"saved to {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")
    if args.merge:
        edit.merge(model, args.merge)
        print(f"merged into {args.merge}")


def _print_answers(model, facts, change, edit, most: int = 8) -> None:
    texts = [
        (facts.tests(old)[0], old.object, new.object)
        for old, new in zip(change.originals, change.modified, strict=True)
    ]
    statements, olds, news = map(list, zip(*texts[:most], strict=True))
    before = model.answers(statements, olds)
    with edit(model):
        after = model.answers(statements, news)
    for (statement, _, new), was, now in zip(texts, before, after, strict=False):
        mark = "✓" if now[0][0] == model.written(new) else "✗"
        print(f"  {mark} {statement}  {_top(was)}  →  {_top(now)}")
    if len(texts) > most:
        print(f"  … and {len(texts) - most} more")


def _top(answers: list[tuple[str, float]]) -> str:
    return f"{answers[0][0]} ({100 * answers[0][1]:.0f} %)"


def _evaluate(args) -> None:
    from . import Edit, Modification, evaluate, load_facts, load_model, score

    facts, model = load_facts(args.facts), load_model(args.model)
    if args.edit is None:
        scores = score(model, facts)
        if args.json:
            print(json.dumps({kind: vars(scores.rate(kind)) for kind in ("tests", "evidences")}))
        else:
            print(f"held-out phrasings  {scores.rate('tests')}\nevidences           {scores.rate('evidences')}")
        return
    edit = Edit.load(args.edit)
    made = edit.made
    if made.get("base_fingerprint") != facts.fingerprint():
        raise ValueError(
            f"{args.edit} was made on the facts {made.get('base')!r}, which are not these ({facts.name!r}): see --facts"
        )
    if edit.applied(model):
        raise ValueError(f"{args.model} is the model with the edit; --model is the one without")
    change = Modification(facts, tuple(made["indices"]), tuple(new for *_, new in made["facts"]), made["change_seed"])
    result = evaluate(model, facts, change, edit=edit)
    print(json.dumps(result.record()) if args.json else result)


COMMANDS = {
    "facts": _facts,
    "memorise": _memorise,
    "pretrain": _pretrain,
    "edit": _edit,
    "evaluate": _evaluate,
    **experiments.COMMANDS,
}

if __name__ == "__main__":
    sys.exit(main())
