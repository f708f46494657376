"""Is a new phrasing understood? The atlas is memorised, then asked in words that none of its evidences contains.

    python benchmarks/new_phrasings.py --pretrained nano-wiki --out results/benchmarks/new_phrasings.jsonl

Two models of the same shape and the same vocabulary memorise the same evidences in the same way: one from random
weights, one from pretrained ones. Both are then asked for the facts in the phrasings of new_phrasings.toml. Without
pretraining a model has never met their words, so it can answer only from the subject and the function words. Intervals
are 95 % bootstraps over phrasings, not statements, because the answers to one phrasing are correlated.
"""

import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
from _record import add, argument_parser

import kmod
from kmod.models.statements import encode
from kmod.models.vocabulary import statements_with_objects, words_of

PHRASINGS = Path(__file__).with_name("new_phrasings.toml")
FUNCTION_WORDS = set(
    "a about an and are as at by from had in into is of on or s that the to was were with , . '".split()
)


def phrasings(facts: kmod.FactBase) -> list[tuple[str, str]]:
    """(relation, phrasing) pairs. Raises ValueError if one contains a content word of the evidences."""
    pairs = [(r, p) for r, own in tomllib.loads(PHRASINGS.read_text("utf-8"))["phrasings"].items() for p in own]
    known = words_of(statements_with_objects(facts)).keys() - FUNCTION_WORDS
    for _, phrasing in pairs:
        if shared := known & words_of([phrasing.replace("[X]", "").replace("[Y]", "")]).keys():
            raise ValueError(f"{phrasing!r} holds words of the evidences: {', '.join(sorted(shared))}")
    return pairs


def ask(model: kmod.MaskedLM, facts: kmod.FactBase) -> list[dict]:
    """For each phrasing, how many facts of its relation are asked and how many are answered correctly (P@1).

    Also for the facts whose subject has other relations, too, so that knowing the subject is not enough.
    """
    relations = Counter(fact.subject for fact in facts)
    about = [(phrasing, fact) for r, phrasing in phrasings(facts) for fact in facts if fact.relation == r]
    statements = [p.replace("[X]", fact.subject).replace("[Y]", kmod.facts.MASK) for p, fact in about]
    objects = [fact.object for _, fact in about]
    right = model.correct(encode(model.tokenizer, statements, objects, range(len(about)), model.limit)).numpy()
    several = np.array([relations[fact.subject] > 1 for _, fact in about])
    counts = []
    for relation, phrasing in phrasings(facts):
        own = np.array([p == phrasing and fact.relation == relation for p, fact in about])
        counts.append({
            "relation": relation, "phrasing": phrasing, "asked": int(own.sum()), "right": int(right[own].sum()),
            "asked_several": int((own & several).sum()), "right_several": int(right[own & several].sum()),
        })  # fmt: skip
    return counts


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--pretrained", default="nano-wiki", help="the pretrained start, a nano")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="of memorising, for both models")
    parser.add_argument("--epochs", type=float, default=11, help="of memorising, for both models")
    parser.add_argument("--starts", nargs="+", choices=["random", "pretrained"], default=["random", "pretrained"])
    parser.add_argument("--seed", type=int, default=0, help="seed of random weights and batches")
    args = parser.parse_args()

    facts, seed = kmod.load_facts("atlas"), args.seed
    tokenizer = kmod.load_model(args.pretrained).tokenizer
    for start in args.starts:
        if start == "random":
            model = kmod.load_model("nano", tokenizer=tokenizer, seed=seed)
        else:
            model = kmod.load_model(args.pretrained)
        report = kmod.memorise(model, facts, seed=seed, lr=args.lr, epochs=args.epochs)
        counts = ask(model, facts)
        rates = {}
        for part in ("", "_several"):
            right, asked = (np.array([x[key + part] for x in counts]) for key in ("right", "asked"))
            rates["new_phrasings" + part] = vars(kmod.evaluation.rate(right, asked))
            print(f"{start}{part}, seed {seed}: {kmod.evaluation.rate(right, asked)}\n{report}", flush=True)
        record = {
            "benchmark": "new_phrasings", "start": start, "pretrained": Path(args.pretrained).name, "seed": seed,
            "facts": len(facts), "facts_fingerprint": facts.fingerprint(), "vocabulary": len(tokenizer), "lr": args.lr,
            "epochs": args.epochs, "evidences": vars(report.evidences), "tests": vars(report.tests), **rates,
            "phrasings": counts, "steps": report.steps, "seconds": report.seconds, "stopped": report.stopped,
        }  # fmt: skip
        add(args.out, record, model.device)


if __name__ == "__main__":
    main()
