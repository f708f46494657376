"""What a tokeniser can write, the recorded sets, the counts, and the commands that show them."""

import json

import numpy as np
import pytest
from tokenizers import AddedToken

import kmod
from kmod.cli import main
from kmod.facts import Fact, FactBase
from kmod.models import build_tokenizer
from kmod.sources import counts, modification_set, sets, single_token, writable


@pytest.fixture(scope="module")
def tokenizer(facts):
    return build_tokenizer(facts)


def test_single_token_keeps_exactly_the_objects_of_one_piece(facts, tokenizer):
    kept = single_token(facts, tokenizer)
    pieces = [len(tokenizer(fact.object, add_special_tokens=False)["input_ids"]) for fact in facts]
    assert list(kept) == [fact for fact, n in zip(facts, pieces, strict=True) if n == 1]
    dropped = len(facts) - len(kept)
    assert 0 < dropped < len(facts)
    assert f"{dropped} of {len(facts)} facts dropped: {dropped} objects of more than one word piece" in kept.notes[-1]
    two = writable(facts, tokenizer, 2)
    assert list(two) == [fact for fact, n in zip(facts, pieces, strict=True) if n <= 2]
    assert "at most" in two.name and kept.relations == facts.relations


def test_what_cannot_be_written_or_is_too_long_is_dropped(facts, tokenizer):
    about = facts[0].subject
    own = [
        Fact("A", "r", facts[0].object, (f"{about} [MASK].", "[MASK] " + f"{about} " * 600), (f"{about}: [MASK]",)),
        Fact("B", "r", facts[0].object, ("[MASK] " + f"{about} " * 600,), ("B: [MASK]",)),
        Fact("C", "r", "東京", ("C [MASK].",), ("C: [MASK]",)),
        Fact("D", "r", facts[0].object, ("D [MASK].",), ("[MASK] " + f"{about} " * 600,)),
    ]
    base = writable(FactBase(own), tokenizer)
    assert [(f.subject, len(f.evidences)) for f in base] == [("A", 1)]
    assert (
        "0 objects of more than 20 word pieces, 1 not in the vocabulary, 2 without a statement of at most 512"
        in (base.notes[-1])
    )
    assert "(3 longer statements dropped)" in base.notes[-1]
    with pytest.raises(ValueError, match="nothing is left of facts: 1 of 1 facts dropped"):
        writable(FactBase(own[2:3]), tokenizer)


def test_what_is_kept_can_be_asked_of_a_model(facts, tokenizer):
    """`limit` counts as a model's `encode` does, for every length about it."""
    model = kmod.load_model("nano", facts, device="cpu")
    word = facts[0].subject.split()[0]
    statements = tuple(f"{f'{word} ' * n}[MASK]." for n in range(1, 30))
    base = FactBase([Fact("A", "r", facts[0].object, statements, ("A: [MASK]",))])
    lengths = model.examples(base, "evidences").lengths
    for limit in (8, 12, 20):
        kept = writable(base, model.tokenizer, limit=limit)[0].evidences
        assert kept == tuple(s for s, n in zip(statements, lengths, strict=True) if n <= limit)


def test_an_object_is_judged_after_a_space():
    """As in RoBERTa, whose pieces carry the space before them, and whose mask takes it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {piece: i for i, piece in enumerate(["<mask>", "<pad>", "Ġ", *"Limacu:.", "ĠL", "ĠLi", "ĠLim", "ĠLima"])}
    bpe = Tokenizer(models.BPE(letters, [("Ġ", "L"), ("ĠL", "i"), ("ĠLi", "m"), ("ĠLim", "a")]))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", model_max_length=6)
    tokenizer.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True)})
    assert len(tokenizer("Lima")["input_ids"]) == 4 and len(tokenizer(" Lima")["input_ids"]) == 1
    statements = ("mama: [MASK].", "mam: [MASK].")
    base = FactBase([Fact("A", "r", name, statements, (": [MASK]",)) for name in ("Lima", "Lama")])
    kept = single_token(base, tokenizer)
    assert [fact.object for fact in kept] == ["Lima"] and kept[0].evidences == ("mam: [MASK].",)
    assert "1 objects of more than one word piece" in kept.notes[0] and "(1 longer statements" in kept.notes[0]


def test_a_sample(atlas):
    some = atlas.sample(100, seed=3)
    assert len(some) == 100 and list(some) == list(atlas.sample(100, seed=3)) != list(atlas.sample(100, seed=4))
    positions = [atlas.find(fact.subject, fact.relation) for fact in some]
    assert positions == sorted(positions) and some.notes[-1] == f"100 of {len(atlas):,} facts, drawn by seed 3"
    assert list(atlas.sample(len(atlas))) == list(atlas)
    assert len(kmod.load_facts("bios:1000000000").sample(5)) == 5
    for n in (0, -1, len(atlas) + 1, True, 2.0):
        with pytest.raises(ValueError, match="has 1 to"):
            atlas.sample(n)


def test_every_recorded_set_is_drawn_again(atlas):
    """Those of bios:1000: test_the_sets_command. After a change of the atlas: python -m kmod facts sets --write."""
    assert len(sets.verify(atlas)) == len(sets.SEEDS)
    for name in ("atlas", "bios:1000"):
        assert set(sets.recorded()["sources"][name]["sets"]["0"]) == {str(n) for n in sets.SIZES}
    small, large = modification_set(atlas, 32, 2), modification_set(atlas, 512, 2)
    assert large.indices[:32] == small.indices and large.objects[:32] == small.objects, "sets contain each other"
    assert small.indices == atlas.modify(32, 2).indices


def test_the_recorded_sets_of_the_real_facts(data):
    assert len(sets.verify(kmod.load_facts("trex", folder=data))) == len(sets.SEEDS)


def test_a_draw_that_differs_is_refused(atlas, monkeypatch):
    with pytest.raises(ValueError, match="no set of 33 facts by seed 0 for atlas; sizes 32, 128, 512, 2048"):
        modification_set(atlas, 33)
    with pytest.raises(ValueError, match="no recorded sets for 'bios:7'; known: atlas, bios:1000, trex"):
        modification_set(kmod.load_facts("bios:7"), 32)
    with pytest.raises(ValueError, match="that are not these 2,000; draw your own"):
        modification_set(FactBase(atlas[:2000], atlas.relations, "atlas"), 32)
    draw = FactBase.modify
    monkeypatch.setattr(FactBase, "modify", lambda self, n, seed: draw(self, n, seed + 1))
    with pytest.raises(
        ValueError, match=f"is not the recorded one, made with numpy .*; this is numpy {np.__version__}"
    ):
        modification_set(atlas, 32)


def test_sets_are_recorded_beside_those_of_other_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(sets, "path", lambda: tmp_path / "sets.json")
    few, more = kmod.load_facts("bios:8"), kmod.load_facts("bios:30")
    sets.write([few])
    sets.write([more])
    record = sets.recorded()
    assert list(record["sources"]) == ["bios:30", "bios:8"] and [path.name for path in tmp_path.iterdir()] == [
        "sets.json"
    ]
    assert list(record["sources"]["bios:8"]["sets"]["0"]) == ["32"], "of 48 facts no 128 can be drawn"
    assert sets.checksums(modification_set(more, 128, 4)) == record["sources"]["bios:30"]["sets"]["4"]["128"]


def test_counts_beside_the_papers(tmp_path, capsys):
    out = tmp_path / "new" / "sources.jsonl"
    command = ["facts", "count", "--facts", "bios:8", "bios:9", "--out", str(out)]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "bios:8                  48            –" in text and "relations        paper" in text
    assert main(command) == 0
    assert "has these counts of bios:8 already" in capsys.readouterr().out
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["source"] for record in records] == ["bios:8", "bios:9"]
    base = kmod.load_facts("bios:8")
    assert records[0]["evidences"] == sum(len(base.evidences(f)) for f in base)
    assert records[0]["tests"] == sum(len(base.tests(f)) for f in base) and records[0]["facts"] == 48
    assert records[0]["fingerprint"] == base.fingerprint()
    row = counts.rows([records[0] | {"source": "trex", "paper": counts.count(base)["paper"] | counts.PAPER["trex"]}])[1]
    assert "34,039" in row and "~1,280,000" in row


def test_the_committed_counts_are_those_of_the_data(data, atlas):
    path = counts.Path(__file__).parents[1] / "results" / "facts" / "sources.jsonl"
    records = {}
    for line in path.read_text("utf-8").splitlines():
        record = json.loads(line)
        records[record["source"]] = record  # the last line of a source stands
    for base in (atlas, *(kmod.load_facts(name, folder=data) for name in ("trex", "zsre", "counterfact"))):
        assert counts.count(base) | {"versions": 0} == records[base.name] | {"versions": 0}


def test_the_sets_command(capsys):
    assert main(["facts", "sets", "--facts", "bios:1000"]) == 0
    assert capsys.readouterr().out.count("|M| = 32, 128, 512, 2048 as recorded") == len(sets.SEEDS)
    assert main(["facts", "sets", "--facts", "bios:8"]) == 2
    assert "no recorded sets for 'bios:8'" in capsys.readouterr().err


def test_list_shows_notes_and_relations_without_phrasings(tmp_path, capsys):
    path = tmp_path / "f.csv"
    path.write_text("subject,relation,object,evidences,tests\n" + 2 * "Peru,capital,Lima,Peru: [MASK],[MASK]!\n")
    assert main(["facts", "list", "--facts", str(path)]) == 0
    out = capsys.readouterr().out
    assert "1 rows repeat a fact" in out and "capital" in out and "1 facts" in out
