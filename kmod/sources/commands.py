"""The facts command: list, show, count, sets."""

from __future__ import annotations

from collections import Counter

from ..checks import brief
from ..files import user_path
from ..names import accentless, normal
from . import KNOWN, counts, load_facts, sets

FACTS_HELP = f"fact base: {KNOWN}; default atlas"


def add_parser(commands) -> None:
    """Add the facts command to `commands`, the subparsers of the command line."""
    help = "list relations or facts of a fact base, show the facts about a subject, count or check the sources"
    facts = commands.add_parser("facts", help=help, description=help[0].upper() + help[1:] + ".")
    verbs = facts.add_subparsers(dest="verb", required=True, metavar="list|show|count|sets")

    def add(name: str, run, help: str, several: bool = False):
        verb = verbs.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        verb.set_defaults(run=run)
        many = {"nargs": "+", "default": ["atlas"], "help": "one or more: " + FACTS_HELP}
        verb.add_argument("--facts", metavar="NAME", **(many if several else {"default": "atlas", "help": FACTS_HELP}))
        return verb

    lists = add("list", _list, "the relations; or, given a relation such as P36, its facts")
    lists.add_argument("relation", nargs="?", help="Wikidata property id, such as P36 (capital)")
    show = add("show", _show, "all facts about a subject, with their evidences and tests")
    show.add_argument("subject", help='such as France, or "Marie Curie"')
    count = add("count", _count, "facts, relations, evidences and tests, beside the paper's figures", several=True)
    count.add_argument(
        "--out", type=user_path, metavar="FILE", help="also append the counts to FILE, a line of JSON each"
    )
    check = add("sets", _sets, "draw the recorded modification sets again, and compare their checksums", several=True)
    check.add_argument("--write", action="store_true", help="record new checksums instead of comparing")


def _list(args) -> None:
    base = load_facts(args.facts)
    if args.relation is not None:
        base.relations[args.relation]  # raises the error that lists the known relations
        print(*(f"{fact.subject}\t{fact.object}" for fact in base if fact.relation == args.relation), sep="\n")
        return
    facts_of = Counter(fact.relation for fact in base)
    print(f"{base.name}: {len(base):,} facts, {len(facts_of)} relations", *base.notes, sep="\n  ")
    for id, n in facts_of.items():
        relation = base.relations[id]
        name = f"{id:12} {relation.label:36}" if relation.label != id else f"{id:49}"
        print(f"{name} {n:6,} facts   {''.join(relation.tests[:1])}".rstrip())


def _show(args) -> None:
    base = load_facts(args.facts)
    facts = [fact for fact in base if normal(fact.subject) == normal(args.subject)]
    facts = facts or [fact for fact in base if accentless(fact.subject) == accentless(args.subject)]
    if not facts:
        raise ValueError(
            brief(f"no facts about {args.subject!r} in {base.name}; see the subjects with: facts list RELATION")
        )
    for fact in facts:
        print(f"{fact.relation} {base.relations[fact.relation].label}: {fact.object}")
        for kind in ("evidences", "tests"):
            for statement in getattr(base, kind)(fact):
                print(f"    {kind[:-1]:9} {statement}")


def _count(args) -> None:
    records = [counts.count(load_facts(name)) for name in args.facts]
    print(*counts.rows(records), "~: recalled from the paper, not checked against its text", sep="\n")
    for record in records:
        for note in record["notes"]:
            print(f"{record['source']}: {note}")
        if args.out and not counts.append(record, args.out):
            print(f"{args.out} has these counts of {record['source']} already")


def _sets(args) -> None:
    bases = [load_facts(name) for name in args.facts]
    if args.write:
        sets.write(bases)
    for base in bases:
        print(*sets.verify(base), sep="\n")
