"""Facts, and the paper's rules for modifying them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmod.facts import Fact, FactBase, Modification, Relation, fill
from kmod.sources import modification_set

CAPITAL = Relation("P36", "capital", ("The capital of [X] is [Y].",), ("[Y] is the capital of [X].",))
COUNTRY = Relation("P17", "country", ("[X] is found in [Y].",), ("The country of [X] is [Y].",))
RELATIONS = {"P36": CAPITAL, "P17": COUNTRY}


def base_of(*triples):
    return FactBase([Fact(*triple) for triple in triples], RELATIONS)


WORLD = [
    ("Peru", "P36", "Lima"),
    ("Spain", "P36", "Madrid"),
    ("Kenya", "P36", "Nairobi"),
    ("Prado", "P17", "Spain"),
    ("Cusco", "P17", "Peru"),
    ("Seville", "P17", "Spain"),
]


def test_fill_starts_with_a_capital():
    assert fill("[X] is in [Y].", "cobra") == "Cobra is in [MASK]."
    assert fill("[Y] is the home of [X].", "cobra") == "[MASK] is the home of cobra."
    assert fill("[X] is made by [Y].", "iPhone") == "iPhone is made by [MASK]."


@pytest.mark.parametrize(
    "phrasing", ["The capital is [Y].", "The capital of [X].", "[X] [X] is [Y].", "[X] is [Y] [Y]."]
)
def test_a_phrasing_without_its_slots_is_refused_by_name(phrasing):
    with pytest.raises(ValueError, match=r"relation P36: the phrasing .* needs \[X\] and \[Y\] exactly once"):
        Relation("P36", "capital", (phrasing,))


def test_a_test_that_is_an_evidence_is_refused():
    with pytest.raises(ValueError, match="tests must be unseen"):
        Relation("P36", "capital", ("[X] is [Y].",), ("[X] is [Y].",))


@pytest.mark.parametrize(
    "triple",
    [
        ("", "P36", "Lima"),
        ("Peru", "", "Lima"),
        ("Peru", "P36", "  "),
        ("Peru", "P36", None),
        ("\u200b", "P36", "Lima"),
    ],
)
def test_an_empty_field_is_refused(triple):
    with pytest.raises(ValueError, match=r"the (subject|relation|object) of a fact must be text that is not empty"):
        Fact(*triple)


def test_a_slot_in_a_name_is_refused():
    with pytest.raises(ValueError, match="holds a slot"):
        Fact("Peru", "P36", "[MASK]")


def test_own_statements_need_one_mask():
    with pytest.raises(ValueError, match=r"\[MASK\] 0 times"):
        Fact("Peru", "P36", "Lima", ("Lima is the capital.",))


def test_a_fact_without_statements_is_refused():
    with pytest.raises(ValueError, match=r"\(Peru, P99, Lima\) has no evidences"):
        base_of(("Peru", "P99", "Lima"))


def test_a_fact_whose_test_is_an_evidence_is_refused():
    with pytest.raises(ValueError, match="tests must be unseen"):
        FactBase([Fact("Peru", "P36", "Lima", ("In [MASK].",), ("In [MASK].",))])
    for wrong in ("In [MASK].", None, ("In [MASK].", 3)):
        with pytest.raises(ValueError, match=r"\(Peru, P36\): evidences must be a tuple of statements, got"):
            Fact("Peru", "P36", "Lima", wrong)
    with pytest.raises(ValueError, match="relation P36: tests must be a tuple of phrasings"):
        Relation("P36", "capital", tests="[X] is [Y].")


def test_a_base_can_be_made_from_a_base():
    with pytest.raises(ValueError, match="has no evidences"):
        FactBase(base_of(*WORLD), {})
    assert list(FactBase(base_of(*WORLD), RELATIONS)) == list(base_of(*WORLD))
    with pytest.raises(TypeError, match=r"is made of Fact\(subject, relation, object\), got \('Peru'"):
        FactBase(WORLD, RELATIONS)
    with pytest.raises(TypeError, match="relations must map ids to Relation objects"):
        FactBase([], [CAPITAL])


def test_a_base_without_relations_says_what_is_missing():
    """Facts with statements of their own need no relation; what asks for one says so."""
    base = FactBase([Fact("Peru", "own", "Lima", ("In [MASK].",))], untested=True)
    assert base.tests(base[0]) == () and base.find("Peru", "own") == 0
    for ask in (lambda: base.relations["own"], lambda: base.evidences(Fact("Peru", "own", "Lima"))):
        with pytest.raises(KeyError) as error:
            ask()
        assert str(error.value) == "unknown relation 'own'; known: none"
    with pytest.raises(KeyError, match="unknown relation 'P36'; known: own"):
        base.find("Spain", "P36")
    with pytest.raises(KeyError, match="unknown relation 'own'; known: none"):
        FactBase([]).find("Peru", "own")
    with pytest.raises(ValueError, match="only 0 of 1 qualify"):
        base.modify(1)
    with pytest.raises(ValueError, match="has no tests to measure its change by"):
        base.modify_to([("Peru", "own", "Cusco")])


def test_repeated_triples_are_merged_and_counted():
    base = FactBase(
        [Fact("Peru", "P36", "Lima", ("A [MASK].",)), Fact("peru ", "P36", "LIMA", ("B [MASK].", "A [MASK]."))],
        RELATIONS,
    )
    assert len(base) == 1 and base.duplicates == 1
    assert base[0] == Fact("Peru", "P36", "Lima", ("A [MASK].", "B [MASK]."))


def test_own_statements_come_before_the_relations():
    base = FactBase([Fact("Peru", "P36", "Lima", ("Lovely [MASK].",))], RELATIONS)
    assert base.evidences(base[0]) == ("Lovely [MASK].",)
    assert base.tests(base[0]) == ("[MASK] is the capital of Peru.",)


def test_find_says_what_is_known_instead():
    base = base_of(*WORLD)
    assert base[base.find("peru", "P36")].object == "Lima"
    with pytest.raises(KeyError, match="of Peru these are known: P36"):
        base.find("Peru", "P17")
    with pytest.raises(KeyError, match="unknown relation 'P1'; known: P17, P36"):
        base.find("Narnia", "P1")
    with pytest.raises(KeyError, match="unknown subject 'Narnia'"):
        base.find("Narnia", "P36")


def test_modification_follows_the_papers_rules(atlas):
    change = atlas.modify(300, seed=7)
    assert len(set(change.indices)) == 300
    for old, new in zip(change.originals, change.modified, strict=True):
        assert (old.subject, old.relation) == (new.subject, new.relation)
        assert new.object != old.object
        assert new.object in atlas.objects(old.relation)
    assert len(change.unmodified) == len(atlas) - 300


def test_new_objects_are_weighted_by_their_global_frequency():
    """Spain is the object of 2 facts and Peru of 1, over all relations: 2 : 1 among the alternatives of a third
    country."""
    base = base_of(*WORLD, ("Nakuru", "P17", "Kenya"))
    drawn = Counter()
    for seed in range(900):
        only = np.arange(len(base)) == base.find("Nakuru", "P17")
        drawn[base.modify(1, seed, only).objects[0]] += 1
    assert set(drawn) == {"Spain", "Peru"}
    assert 0.6 < drawn["Spain"] / 900 < 0.73  # 2/3, five standard errors


def test_modification_depends_on_the_seed_alone(atlas):
    assert atlas.modify(16, seed=3).objects == atlas.modify(16, seed=3).objects
    assert atlas.modify(16, seed=3).indices != atlas.modify(16, seed=4).indices


def test_only_known_facts_are_modified(atlas):
    known = np.zeros(len(atlas), dtype=bool)
    known[10:60] = True
    assert set(atlas.modify(40, seed=0, known=known).indices) <= set(range(10, 60))
    with pytest.raises(ValueError, match="cannot modify 51 facts of atlas: only 50"):
        atlas.modify(51, seed=0, known=known)
    with pytest.raises(ValueError, match="one boolean for each"):
        atlas.modify(1, known=known[:5])


def test_an_object_without_alternative_is_refused_by_name():
    base = base_of(("Prado", "P17", "Spain"), ("Seville", "P17", "Spain"))
    with pytest.raises(ValueError, match=r"\(Prado, P17, Spain\) cannot be modified: relation P17 has no other object"):
        base.alternatives(base[0])
    with pytest.raises(ValueError, match="no other object in their relation"):
        base.modify(1)


def test_an_object_that_is_already_true_is_never_new():
    base = base_of(("Nile", "P17", "Egypt"), ("Nile", "P17", "Sudan"), ("Lima", "P17", "Peru"))
    assert base.alternatives(base[0]) == ["Peru"]


RIVERS = [("Nile", "P17", "Egypt"), ("Nile", "P17", "Sudan"), ("Nile", "P17", "Uganda"), ("Prado", "P17", "Spain")]
RIVERS += [("Cusco", "P17", "Peru"), ("Nakuru", "P17", "Kenya")]


def drawn_plainly(base, n, seed):
    """The paper's rule, each object drawn without a look at the others."""
    rng, chosen = np.random.default_rng(seed), []
    for i in rng.permutation(len(base)):
        if len(chosen) < n and base.alternatives(base[i]):
            chosen.append(int(i))
    objects = []
    for i in chosen:
        names = base.alternatives(base[i])
        weights = np.array([base.object_counts[name] for name in names], dtype=float)
        objects.append(str(rng.choice(np.array(names, dtype=object), p=weights / weights.sum())))
    return tuple(chosen), objects


def test_two_objects_of_one_subject_are_not_given_the_same_new_one():
    base, clashes = base_of(*RIVERS), 0
    for seed in range(60):
        change = base.modify(6, seed)
        assert len(change.result()) == len(base)
        indices, objects = drawn_plainly(base, 6, seed)
        assert change.indices == indices
        nile = [new for i, new in zip(indices, objects, strict=True) if i < 3]
        for k, (i, plain, ours) in enumerate(zip(indices, objects, change.objects, strict=True)):
            seen = {new for j, new in zip(indices[:k], change.objects[:k], strict=True) if i < 3 and j < 3}
            assert (ours == plain) == (plain not in seen), "no other draw changes"
        clashes += len(set(nile)) < 3
    assert 20 < clashes < 60


def test_no_more_objects_of_one_subject_are_modified_than_there_are_others():
    base = base_of(("Nile", "P17", "Egypt"), ("Nile", "P17", "Sudan"), ("Lima", "P17", "Peru"), ("Puno", "P17", "PERU"))
    for seed in range(10):
        change = base.modify(3, seed)
        assert sum(i < 2 for i in change.indices) == 1, "of two names that are one, but for case, one can be given"
        assert len(change.result()) == len(base)
    with pytest.raises(ValueError, match="cannot modify 4 facts of facts: only 3 of 4 qualify"):
        base.modify(4)


def test_the_draws_of_record_stay_as_they_were(atlas):
    """Those of |M| = 512 are known by checksum (`kmod.sources.sets`); smaller ones are their beginnings."""
    for seed in range(5):
        large = modification_set(atlas, 512, seed)
        for n in (8, 32, 128, 512):
            change = atlas.modify(n, seed)
            assert (change.indices, change.objects) == (large.indices[:n], large.objects[:n])


@pytest.mark.parametrize("n", [0, -1, True, 1.5, "3"])
def test_a_wrong_number_of_facts_is_refused(n):
    with pytest.raises(ValueError, match="whole number from 1"):
        base_of(*WORLD).modify(n)


def test_numbers_of_numpy_count_as_pythons():
    base = base_of(*WORLD)
    change = base.modify(np.int64(2), np.int32(3))
    assert change == base.modify(2, 3) and type(change.seed) is int
    assert list(base.sample(np.int64(2), np.int64(1))) == list(base.sample(2, 1))
    for seed in (None, -1, 1.0, "0"):
        with pytest.raises(ValueError, match="seed must be a whole number from 0"):
            base.modify(2, seed)


def test_changes_by_hand():
    base = base_of(*WORLD)
    change = base.modify_to([("Peru", "P36", "Madrid")])
    assert change.modified[0].object == "Madrid"
    after = change.result()
    assert len(after) == len(base)
    assert after[0] == Fact("Peru", "P36", "Madrid") and list(after)[1:] == list(base)[1:]
    with pytest.raises(ValueError, match="already has the object"):
        base.modify_to([("Peru", "P36", "lima")])
    with pytest.raises(ValueError, match="given twice"):
        base.modify_to([("Peru", "P36", "Madrid"), ("Peru", "P36", "Nairobi")])
    with pytest.raises(ValueError, match="at least one"):
        base.modify_to([])
    with pytest.raises(ValueError, match=r"a change is \(subject, relation, new object\), got 'Peru'"):
        base.modify_to(("Peru", "P36", "Madrid"))
    with pytest.raises(ValueError, match="the object of a fact must be text"):
        base.modify_to([("Peru", "P36", " ")])


@pytest.mark.parametrize(
    "indices, objects, message",
    [
        ((), (), "at least one fact"),
        ((0,), (), "1 facts and 0 new objects"),
        ((6,), ("Rome",), "different positions from 0 to 5 in facts, got 6"),
        ((0, 0), ("Rome", "Oslo"), "got one of them twice"),
    ],
)
def test_a_modification_that_cannot_be_made_is_refused(indices, objects, message):
    with pytest.raises(ValueError, match=message):
        Modification(base_of(*WORLD), indices, objects)


def test_fingerprint_sees_every_word():
    assert base_of(*WORLD).fingerprint() == base_of(*WORLD).fingerprint()
    assert base_of(*WORLD).fingerprint() != base_of(*WORLD[:-1], ("Seville", "P17", "Peru")).fingerprint()


names = st.text(st.characters(categories=["L", "N"], include_characters=" '"), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(names, st.sampled_from(["P36", "P17"]), names), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_names_make_a_base_without_duplicates(triples):
    base = base_of(*triples)
    keys = [(f.subject.strip().casefold(), f.relation, f.object.strip().casefold()) for f in base]
    assert len(keys) == len(set(keys)) and len(base) + base.duplicates == len(triples)
    for fact in base:
        assert all(statement.count("[MASK]") == 1 for statement in base.evidences(fact) + base.tests(fact))


SWISS = [("Switzerland", "P17", name) for name in ("German", "French", "Italian")]


def test_a_change_of_a_fact_with_several_objects_says_which():
    base = base_of(("Peru", "P17", "Lima"), *SWISS)
    with pytest.raises(ValueError, match=r"Switzerland has 3 objects in P17 \(German, French, Italian\): say which"):
        base.modify_to([("switzerland", "P17", "Romansh")])
    for arrow in (" → ", "->", " -> "):
        change = base.modify_to([("Switzerland", "P17", f"french{arrow}Romansh"), ("Peru", "P17", f"Lima{arrow}Cusco")])
        assert (change.indices, change.objects) == ((2, 0), ("Romansh", "Cusco"))
    both = base.modify_to([("Switzerland", "P17", "Italian -> Ladin"), ("Switzerland", "P17", "German -> Dutch")])
    assert (both.indices, both.objects) == ((3, 1), ("Ladin", "Dutch")) and len(both.result()) == 4
    for new, message in (
        ("Dutch -> Ladin", r"Switzerland has no object 'Dutch' in P17; it has: German, French, Italian"),
        ("French -> German", r"already has the object 'German'"),
        ("French ->", "object of a fact must be text that is not empty"),
    ):
        with pytest.raises(ValueError, match=message):
            base.modify_to([("Switzerland", "P17", new)])
    with pytest.raises(ValueError, match=r"\(Switzerland, P17\) is given the object 'LADIN' twice"):
        base.modify_to([("Switzerland", "P17", "French -> Ladin"), ("Switzerland", "P17", "German -> LADIN")])
    assert base.find_one("Switzerland", "P17", "ITALIAN") == 3
