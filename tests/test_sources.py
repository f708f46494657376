"""The embedded facts are what they claim to be, and the generated ones are generated."""

import gzip
import json
import tracemalloc
from collections import Counter, defaultdict

import pytest

import kmod
from kmod.sources import bios


def plain(text):
    return text.strip().casefold()


def test_atlas_is_a_readable_table_of_about_2000_facts(atlas):
    assert 1_900 <= len(atlas) <= 2_700
    assert len({fact.relation for fact in atlas}) >= 20
    assert {"P36", "P30", "P37", "P38", "P19", "P106", "P176", "P17"} <= set(atlas.relations)
    assert set(atlas.relations) == {fact.relation for fact in atlas}


def test_atlas_has_no_duplicates_and_no_contradictions(atlas):
    assert atlas.duplicates == 0
    repeated = [key for key, n in Counter((plain(f.subject), f.relation) for f in atlas).items() if n > 1]
    assert not repeated


def test_atlas_names_are_clean_and_spelt_one_way(atlas):
    spellings = defaultdict(set)
    for fact in atlas:
        for name in (fact.subject, fact.object):
            assert name == name.strip() and "  " not in name and not set(name) & set('[](),"\t')
            spellings[plain(name)].add(name)
    assert not {name: forms for name, forms in spellings.items() if len(forms) > 1}
    assert all(plain(f.object) != plain(f.subject) for f in atlas)


def test_atlas_phrasings(atlas):
    phrasings = Counter()
    for relation in atlas.relations.values():
        assert len(relation.evidences) >= 4 and len(relation.tests) >= 2
        phrasings.update((*relation.evidences, *relation.tests))
    assert max(phrasings.values()) == 1, "a phrasing that two relations share asks for both at once"


def test_atlas_tests_use_words_that_the_evidences_teach(atlas):
    """A test is a new phrasing, not new words: a model that was never pretrained cannot know those."""
    words = lambda texts: {w for t in texts for w in t.lower().replace(".", "").replace(",", "").split()}  # noqa: E731
    taught = words(t for r in atlas.relations.values() for t in r.evidences)
    for relation in atlas.relations.values():
        assert {w.removesuffix("'s") for w in words(relation.tests)} <= {w.removesuffix("'s") for w in taught}, relation


def test_atlas_objects_are_shared_enough_to_modify(atlas):
    """Capitals apart (each country has its own), an object serves several subjects, so that a new object is a familiar
    one; and no object takes so much of a relation that guessing it would pay."""
    for id in atlas.relations:
        counts = Counter(f.object for f in atlas if f.relation == id)
        facts = sum(counts.values())
        assert facts >= 40 and len(counts) >= 4, id
        assert max(counts.values()) / facts <= 0.36, id
        if id != "P36":
            assert sum(n for n in counts.values() if n > 1) / facts >= 0.75, id


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_atlas_agrees_with_wikidata_where_they_overlap(atlas, data):
    """T-REx and its kin are noisy (namesakes, several true answers): agreement must be high, not total."""
    theirs = defaultdict(set)
    for file in ("trex_facts.jsonl.gz", "wiki_uni_facts.jsonl.gz"):
        for row in read(data / file):
            theirs[plain(row["sub_label"]), row["relation"]].add(plain(row["obj_label"]))
    overlap = [f for f in atlas if (plain(f.subject), f.relation) in theirs]
    agree = [f for f in overlap if any(same_name(f.object, o) for o in theirs[plain(f.subject), f.relation])]
    assert len(overlap) > 200
    assert len(agree) / len(overlap) > 0.93, [str(f) for f in overlap if f not in agree]


def same_name(ours, theirs):
    return plain(ours) in theirs or theirs in plain(ours)


def test_bios_any_number_of_people_with_six_attributes():
    base = bios(500, seed=3)
    assert len(base) == 3000
    assert len({f.subject for f in base}) == 500
    assert all(len({f.relation for f in base[6 * i : 6 * i + 6]}) == 6 for i in range(500))
    assert base[7] == bios(500, seed=3)[7] and base[7] != bios(500, seed=4)[7]
    change = base.modify(20, seed=0)
    assert all(new != old.object for old, new in zip(change.originals, change.objects, strict=True))


def test_bios_memory_does_not_grow_with_n():
    peaks = []
    for n in (1_000, 10_000_000_000):
        tracemalloc.start()
        base = bios(n)
        assert len(base) == 6 * n and base[6 * n - 1].object
        for i in range(0, 6 * n, 6 * n // 500):
            base.evidences(base[i])
        base.fingerprint()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] + 10_000


def test_bios_names_never_collide_across_the_space():
    base = bios(60_000)
    assert len({base[6 * i].subject for i in range(60_000)}) == 60_000


@pytest.mark.parametrize(
    "name",
    ["trex2", "bios", "atlas:x", "atlas:", "atlas:0", "atlas:1:2:3", "bios:", "bios:x", "bios:1:2:3", "bios:0", ""],
)
def test_unknown_sources_list_the_known_ones(name):
    with pytest.raises(ValueError, match=r"bios:N|atlas:N|1 to 2,|whole number from 1"):
        kmod.load_facts(name)


def test_sources_by_name():
    assert kmod.load_facts("bios:10:2")[3] == bios(10, 2)[3]
    atlas = kmod.load_facts("atlas")
    assert kmod.load_facts("atlas:40").fingerprint() == atlas.sample(40).fingerprint()
    assert kmod.load_facts("atlas:40:1").fingerprint() == atlas.sample(40, 1).fingerprint()
