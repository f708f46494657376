"""Probes, portability and general ability, against slow plain counts."""

import gzip
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import kmod
from kmod.evaluation import judge
from kmod.names import normal
from kmod.probes import Panel, known_without_length, pseudo_perplexity
from kmod.questions import Question, neighbours, portability
from kmod.sources.general import general_text


def logp(model, statement, count):
    """(count, V) log-probabilities at the masks of a statement asked with `count` masks: the plain Hugging Face way."""
    text = statement.replace("[MASK]", " ".join([model.tokenizer.mask_token] * count))
    ids = model.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        logits = model.net(**ids).logits[0]
    return logits[ids["input_ids"][0] == model.tokenizer.mask_token_id].log_softmax(-1)


def pieces(model, name):
    return model.tokenizer(name, add_special_tokens=False)["input_ids"]


def score_of(model, statement, name):
    ids = pieces(model, name)
    return logp(model, statement, len(ids))[range(len(ids)), ids].mean().item()


@pytest.fixture
def edited(model, facts):
    change = facts.modify(5, seed=2, known=kmod.known(model, facts))
    return change, kmod.finetune(model, change, constraint=kmod.Linf(1e-2), steps=30, batch_size=40)


def test_every_way_of_judging_equals_a_slow_count(model, facts, edited):
    change, edit = edited
    pairs = list(zip(change.originals, change.objects, strict=True))
    first = [facts.tests(fact)[0] for fact, _ in pairs]
    probes = {
        "answer": [Question(s, new) for s, (_, new) in zip(first, pairs, strict=True)],
        "pieces": [Question(s, new, by="pieces") for s, (_, new) in zip(first, pairs, strict=True)],
        "rival": [Question(s, new, by="rival", rival=f.object) for s, (f, new) in zip(first, pairs, strict=True)],
        "unchanged": [Question(s, f.object, by="unchanged") for s, (f, _) in zip(first, pairs, strict=True)],
    }
    best = {(s, n): logp(model, s, n).argmax(-1).tolist() for s in first for n in (1, 2, 3, 4)}
    panel = Panel(model, probes)
    with edit(model):
        found = panel.after(model)
        slow = {name: [] for name in probes}
        for s, (fact, new) in zip(first, pairs, strict=True):
            ids = pieces(model, new)
            hits = [a == b for a, b in zip(logp(model, s, len(ids)).argmax(-1).tolist(), ids, strict=True)]
            slow["answer"].append(all(hits))
            slow["pieces"].append(np.mean(hits))
            slow["rival"].append(score_of(model, s, new) > score_of(model, s, fact.object))
            n = len(pieces(model, fact.object))
            same = zip(logp(model, s, n).argmax(-1).tolist(), best[s, n], strict=True)
            slow["unchanged"].append(np.mean([a == b for a, b in same]))
    for name in probes:
        assert found[name].after.value == pytest.approx(np.mean(slow[name])), name
    assert found["unchanged"].before.value == 1 and found["answer"].after.facts == 5


def test_other_right_answers_are_not_ranked(model, facts):
    relation = facts.relations["P397"]
    moons = [fact for fact in facts if fact.relation == "P397"]
    statement = facts.tests(moons[0])[0]
    ranked, right = judge(model, [statement], [moons[0].object], 3)
    names = [text for text, _ in ranked[0]]
    assert right == [True] and names[0] == model.written(moons[0].object) and relation.label
    questions = [Question(statement, names[1]), Question(statement, names[1], also=(names[0],))]
    wrong = Question(statement, names[2], also=(names[0],))
    found = Panel(model, {"plain": questions[:1], "filtered": questions[1:], "third": [wrong]}).after(model)
    assert [found[name].after.value for name in ("plain", "filtered", "third")] == [0, 1, 0]


def test_only_questions_count_whose_needs_the_unedited_model_answers(model, facts):
    known, unknown = Question(facts.tests(facts[0])[0], facts[0].object), Question("Nobody knows [MASK].", "Pluto")
    asked = [replace(known, needs=(known,)), replace(known, needs=(unknown,)), Question("It is [MASK].", "漢字")]
    probe = Panel(model, {"x": asked}).after(model)["x"]
    assert (probe.asked, probe.counted, probe.after.value) == (3, 1, 1.0) and "1 of 3 questions" in str(probe)
    assert str(Panel(model, {"x": asked[1:]}).after(model)["x"]) == "–  (none of 2 questions counts)"


def test_without_the_number_of_masks_the_best_count_is_taken(model, facts):
    few = kmod.FactBase(facts[::25], facts.relations, "few")
    examples, slow = model.examples(few, "tests"), []
    for fact in few:
        for statement in few.tests(fact):
            tops = [logp(model, statement, n).max(-1) for n in (1, 2, 3, 4)]
            best = max(tops, key=lambda top: top.values.mean().item())
            slow.append(best.indices.tolist() == pieces(model, fact.object))
    assert known_without_length(model, examples, 4).tolist() == slow
    assert not known_without_length(model, examples, 1)[
        [len(pieces(model, few[i].object)) > 1 for i in examples.owner]
    ].any()


def test_pseudo_perplexity_equals_a_slow_count(model):
    sentences = ["The currency of Peru is the sol.", "She lives in Rome."]
    losses = []
    for sentence in sentences:
        ids = model.tokenizer(sentence)["input_ids"]
        for at in range(1, len(ids) - 1):
            masked = torch.tensor([[*ids[:at], model.tokenizer.mask_token_id, *ids[at + 1 :]]])
            with torch.no_grad():
                losses.append(-model.net(input_ids=masked).logits[0, at].log_softmax(-1)[ids[at]].item())
    found = pseudo_perplexity(model, sentences)
    assert found.value == pytest.approx(math.exp(np.mean(losses)), rel=1e-4)
    assert (found.sentences, found.tokens) == (2, len(losses)) and found.low <= found.value <= found.high
    with pytest.raises(ValueError, match="no sentence has a token"):
        pseudo_perplexity(model, ["漢"])


def test_portability_follows_from_the_relations(atlas):
    change = atlas.modify_to(
        [("Taj Mahal", "P17", "France"), ("Albert Einstein", "P19", "Oslo"), ("Peru", "P36", "Utopia")]
    )
    asked = portability(change)
    hops = {q.statement: q for q in asked["one hop"]}
    capital = hops["The capital of the country where Taj Mahal is found is [MASK]."]
    assert (capital.answer, capital.fact, capital.needs[0].answer) == ("Paris", 0, "New Delhi")
    assert capital.needs[1].answer == "Paris" and "France" in capital.needs[1].statement
    alias = asked["alias"][0]
    assert alias.statement == "Einstein's place of birth is [MASK]." and alias.answer == "Oslo"
    assert alias.needs[0].answer == atlas[atlas.find("Albert Einstein", "P19")].object
    inverse = asked["inverse"][2]
    assert inverse.statement == "[MASK]'s capital city is Utopia." and (inverse.answer, inverse.also) == ("Peru", ())
    assert inverse.needs[0].statement == "[MASK]'s capital city is Lima."
    others = {f.subject for f in atlas if f.relation == "P17" and f.object == "France"}
    assert set(asked["inverse"][0].also) == others and "Taj Mahal" not in others
    both = atlas.modify_to([("Taj Mahal", "P17", "France"), ("France", "P36", "Rome")])
    assert "The capital of the country where Taj Mahal is found is [MASK]." not in {
        q.statement for q in portability(both)["one hop"]
    }
    assert portability(atlas.sample(200).modify(3)).keys() == asked.keys()


def test_aliases_and_hops_of_the_atlas_are_sound(atlas):
    subjects, names = {f.subject for f in atlas}, {n.casefold() for f in atlas for n in (f.subject, f.object)}
    assert set(atlas.aliases) <= subjects and len(atlas.aliases) > 300
    every = [alias for aliases in atlas.aliases.values() for alias in aliases]
    assert len(set(every)) == len(every) and not {alias.casefold() for alias in every} & names
    assert {s for r in atlas.relations.values() for s in r.hops} <= set(atlas.relations)
    with pytest.raises(ValueError, match=r"the hop to P36 needs \[X\] and \[Y\] once"):
        kmod.Relation("P17", "country", hops={"P36": "The capital is [Y]."})


def test_the_text_that_ships_is_held_out(atlas):
    text = general_text()
    assert len(text) == len(set(text)) == 200 and all(sentence.endswith(".") for sentence in text)
    words = [f" {sentence.casefold()} " for sentence in text]
    named = [[s for s in words if f" {fact.subject.casefold()} " in s] for fact in atlas]
    assert not [f for f, near in zip(atlas, named, strict=True) if any(f" {f.object.casefold()}" in s for s in near)]


def test_neighbours_equal_a_slow_count(atlas):
    change = atlas.modify(4, seed=1)
    found, changed = neighbours(change), set(change.indices)
    for i, fact in enumerate(atlas):
        same = [f.subject == fact.subject for f in change.originals]
        outside = i not in changed
        assert found["same subject"][i] == (outside and any(same))
        for kind, field in (("same relation", "relation"), ("same old object", "object")):
            equal = any(getattr(f, field) == getattr(fact, field) for f in change.originals)
            assert found[kind][i] == (outside and equal and not any(same))


def test_evaluate_prints_and_records_the_names_of_the_field(model, facts, edited):
    change, edit = edited
    statement = facts.tests(change.originals[0])[0]
    mine = {"mine": [(statement, change.objects[0])]}
    result = kmod.evaluate(model, facts, change, edit=edit, before=kmod.score(model, facts, ["tests"]), probes=mine)
    row, text = result.record(), str(result)
    assert row["reliability"] == row["A_M_evidences"] and row["generalisation"] == row["A_M"]
    assert row["locality"] == row["A_FS"] and row["probe_mine"] == result.probes["mine"].after.value
    assert {"locality_same_relation", "portability_counted", "A_M_any_length"} <= row.keys() and result.changed
    for word in ("reliability", "generalisation", "locality", "portability", "same relation", "probe: mine"):
        assert word in text
    assert "general ability" not in text and "pseudo_perplexity" not in row
    assert all(answer.right == (answer.after[0][0] == model.written(answer.new)) for answer in result.answers)
    with pytest.raises(ValueError, match=r"probe 'x': give kmod.Question or \(statement, answer\)"):
        kmod.evaluate(model, facts, change, probes={"x": ["no pair"]})
    with pytest.raises(ValueError, match="probe 'x' has no statements"):
        kmod.evaluate(model, facts, change, probes={"x": []})


def test_an_edit_that_changes_no_answer_says_so(model, facts):
    facts = kmod.FactBase(facts[::3], facts.relations, "small")
    change, before = facts.modify(2, seed=0), kmod.score(model, facts, ["tests"])
    for delta, same in ((0, True), (2e-2, False)):
        edit = kmod.finetune(model, change, constraint=kmod.Linf(delta), steps=20)
        assert ("changes no weight" in repr(edit)) is same
        text = str(kmod.evaluate(model, facts, change, edit=edit, before=before))
        assert ("This edit changes no best answer" in text) is same
    assert "changes no best answer" not in str(kmod.evaluate(model, facts, change, before=before))


def rows_of(data, file):
    return [json.loads(line) for line in gzip.open(data / file, "rt", encoding="utf-8")]


def test_counterfact_is_scored_as_its_authors_do(data, model):
    _, change = kmod.load_edits("counterfact", 12, seed=0, folder=data)
    probes = kmod.load_probes("counterfact", change, folder=data)
    rows = {(normal(r["subject"]), normal(r["ground_truth"])): r for r in rows_of(data, "counterfact_500.jsonl.gz")}
    found, slow = Panel(model, probes).after(model), {"efficacy": [], "paraphrase": [], "neighborhood": []}
    for fact, new in zip(change.originals, change.objects, strict=True):
        row = rows[normal(fact.subject), normal(fact.object)]
        prompts = {"efficacy": [row["prompt"]], "paraphrase": row["rephrase_prompt"]}
        prompts["neighborhood"] = [each["prompt"] for each in row["locality"]]
        for probe, texts in prompts.items():
            for text in texts:
                p_new, p_old = (score_of(model, f"{text.strip()} [MASK].", name) for name in (new, fact.object))
                slow[probe].append(p_old > p_new if probe == "neighborhood" else p_new > p_old)
    for probe, right in slow.items():
        assert found[probe].counted == len(right) and found[probe].after.value == pytest.approx(np.mean(right))
    with pytest.raises(ValueError, match="counterfact has no question about these facts"):
        kmod.load_probes("counterfact", kmod.load_facts("atlas").modify(2), folder=data)


def test_zsre_portability_is_scored_as_its_authors_do(data, model):
    _, change = kmod.load_edits("zsre:mend", 12, seed=0, folder=data)
    probes = kmod.load_probes("zsre:mend", change, folder=data)
    edits = set()  # (question, old, new): the set may ask for two relations of a subject with the same objects
    for fact, new in zip(change.originals, change.objects, strict=True):
        edits |= {(text, normal(fact.object), normal(new)) for text in (*fact.evidences, *fact.tests)}
    rows = rows_of(data, "zsre_edit_mend_portability.jsonl.gz")
    rows = [r for r in rows if (f"{r['src']} [MASK]", normal(r["answers"][0]), normal(r["alt"])) in edits]
    asked = {(r["portability"]["New Question"], r["portability"]["New Answer"]) for r in rows}
    found, shares = Panel(model, probes).after(model), []
    for question, answer in asked:
        ids = pieces(model, answer)
        if model.tokenizer.unk_token_id not in ids:
            best = logp(model, f"{question} [MASK]", len(ids)).argmax(-1).tolist()
            shares.append(np.mean([a == b for a, b in zip(best, ids, strict=True)]))
    assert found["portability"].asked == len(asked) and found["portability"].counted == len(shares)
    assert found["portability"].after.value == pytest.approx(np.mean(shares))
    assert found["locality"].after.value == 1  # nothing was edited
    assert set(kmod.load_probes("zsre:knowedit", kmod.load_edits("zsre:knowedit", folder=data)[1], folder=data)) == {
        "portability", "locality"
    }  # fmt: skip
