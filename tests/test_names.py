"""A name is the same name everywhere, and what a tokeniser makes of it is asked in one place."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, PreTrainedTokenizerFast

import kmod
from kmod.facts import Fact, FactBase, Relation
from kmod.fae.entities import Names
from kmod.fae.statements import place
from kmod.lab.index import FactIndex
from kmod.lab.session import Session
from kmod.mentions import Finder
from kmod.models import MaskedLM, build_tokenizer
from kmod.models.presets import build_net
from kmod.models.statements import encode, last_tokens
from kmod.names import accentless, alike, normal, pieces_of
from kmod.pretraining.text import without
from kmod.sources import writable

COUNTRY = {"P17": Relation("P17", "country", ("[X] is in [Y].",), ("The country of [X] is [Y].",))}
ENGLISH = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,:", "the", "is", "in", "cuba"]
ENGLISH += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]


def base_of(*triples):
    return FactBase([Fact(s, "P17", o) for s, o in triples], COUNTRY)


def bert(pieces=ENGLISH):
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=512)


def nano(tokenizer):
    return MaskedLM(build_net("nano", len(tokenizer), 0), tokenizer)


def nfd(text):
    return unicodedata.normalize("NFD", text)


SAME = [  # two spellings of one name
    ("New York", "New\u00a0York"),
    ("Perú", nfd("Perú")),
    ("Côte d'Ivoire", " CÔTE  d'ivoire\n"),
    ("東京", "東\u200b京"),
    ("パリ", "ﾊﾟﾘ"),
    ("Fiji", "Ｆｉｊｉ"),
    ("Field", "ﬁeld"),
    ("Soft", "So\u00adft"),
]
FOR_A_MODEL = [("São Paulo", "Sao Paulo"), ("U.S.", "U. S."), ("İzmir", "Izmir"), ("ガーナ", "カーナ")]


@pytest.mark.parametrize("one, other", [*SAME, *FOR_A_MODEL])
def test_names_that_some_model_reads_as_one_are_never_drawn_for_one_another(one, other):
    base = base_of(("A", one), ("B", other), ("C", "Lima"), ("D", one))
    assert base.alternatives(base[0]) == base.alternatives(base[1]) == ["Lima"]
    for seed in range(10):
        change = base.modify(3, seed)
        assert not any(alike(f.object) == alike(new) for f, new in zip(change.originals, change.objects, strict=True))
    assert other not in FactIndex(base).suggestions(base[0])


@pytest.mark.parametrize("one, other", SAME)
def test_one_name_is_found_counted_and_numbered_as_one(one, other):
    assert normal(one) == normal(other)
    base = base_of((one, "Lima"), ("B", one), ("C", other))
    assert base.find(other, "P17") == 0 and base_of((one, "Lima"), (other, " LIMA")).duplicates == 1
    assert base.object_counts == {"Lima": 1, one: 2}
    names = Names.of(base)
    assert len(names.entities) == 4 and names.find(other) == names.find(one) >= 0
    with pytest.raises(ValueError, match="already has the object"):
        base.modify_to([("B", "P17", other)])


def test_two_forms_of_a_name_share_its_weight():
    base = base_of(("A", "Perú"), ("B", nfd("Perú")), ("C", "Perú"), ("D", "Spain"), ("E", "Lima"))
    names, weights = base._alternatives.of(base[4])
    assert dict(zip(names, weights.tolist(), strict=True)) == {"Perú": 0.5, nfd("Perú"): 0.25, "Spain": 0.25}


def test_a_name_without_its_accents_is_found_unless_it_is_another():
    base = base_of(("São Paulo", "Brazil"), ("Lomé", "Togo"), ("Lome", "Texas"), ("パリ", "France"))
    assert base.find("sao paulo", "P17") == 0
    assert (base.find("Lomé", "P17"), base.find("Lome", "P17")) == (1, 2)
    for unknown in ("Lomè", "バリ", "ハリ"):  # which of two; Bali, not Paris
        with pytest.raises(KeyError, match="unknown subject"):
            base.find(unknown, "P17")
    assert Names.of(base).find("Sao Paulo") == 0 and Names.of(base).find("Lomè") == Names.of(base).find("バリ") == -1
    index = FactIndex(base)
    assert index.search("SAO") == [0] and index.subject_in("Sao Paulo, a city, is in [MASK].") == "São Paulo"


@given(st.text(max_size=12))
def test_forms_of_any_text_are_stable(text):
    for form in (normal, accentless, alike):
        assert form(form(text)) == form(text)
        assert form(unicodedata.normalize("NFD", text)) == form(unicodedata.normalize("NFC", text))
    for mention in Finder([text]).all(f"({text})"):
        assert 0 <= mention.start < mention.stop <= len(text) + 2


MENTIONED = [  # name, text, the mention as written or None
    ("Perú", nfd("Lima is in Perú."), nfd("Perú")),
    ("Peru", "PERUVIAN and Peruvian, not PERU", "PERU"),
    ("Peru", nfd("Perúvian"), None),
    ("New York", "In New\u00a0 York City", "New\u00a0 York"),
    ("法国", "法国的首都是[MASK]。", "法国"),
    ("巴黎", "首都是巴黎。", "巴黎"),
    ("フランス", nfd("首都はフランスの"), nfd("フランス")),
    ("インド", "インドネシアではない", None),
    ("ไทย", "เมืองหลวงของไทยคือ[MASK]", "ไทย"),
    ("ລາວ", "ນະຄອນຫຼວງຂອງລາວແມ່ນ", "ລາວ"),
    ("프랑스", nfd("프랑스의 수도는"), nfd("프랑스")),
    ("भारत", "भारतीय", None),
    ("भारत", "यह भारत है", "भारत"),
    ("C++", "C, then C++.", "C++"),
    ("MASK", "[MASK] is here", None),
]


@pytest.mark.parametrize("name, text, written", MENTIONED)
def test_a_mention_is_found_in_any_form_and_script(name, text, written):
    span = place(text, name)
    assert (span and text[slice(*span)]) == written


@pytest.mark.parametrize("name, text, written", [row for row in MENTIONED if row[0] not in ("C++", "MASK")])
def test_a_corpus_without_facts_has_no_mention_of_them(name, text, written):
    left = list(without([f"{text}\nOther."], base_of((name, "Lima"))))
    assert left == (["Other."] if written else [f"{text}\nOther."])


@pytest.mark.parametrize("name", ["Perú", "法国", "ไทย"])
def test_a_fae_sees_a_decomposed_name_and_one_without_spaces(name):
    text = f"那{name}在[MASK]。" if name == "法国" else f"In {name} [MASK]."
    base = FactBase([Fact(name, "own", "Lima", (text, nfd(text) + " "), (f"{name}: [MASK]",))])
    fae = kmod.build_fae("nano", base, seed=0)
    examples = fae.examples(base, "evidences")
    assert len(examples.linked) == 4 and (examples.linked == fae.names.find(name)).sum() == 2
    (read,) = fae.read([nfd(text)])
    assert [entity for *_, entity in read.mentions].count(fae.names.find(name)) == 1


UNWRITABLE = [("日本", "中国"), ("a" * 101, "b" * 101), ("Ж", "The Я"), ("New 日", "NEW 中")]


@pytest.mark.parametrize("one, other", UNWRITABLE)
def test_a_subject_that_the_vocabulary_cannot_write_is_refused(one, other):
    model, sure = nano(bert()), [("Lima", "Peru"), ("Rome", "Italy")]
    base = base_of(*sure, (one, "Peru"), (other, "Italy"))
    with pytest.raises(ValueError, match=r"the subject '.*' cannot be written .*kmod\.writable") as error:
        kmod.finetune(model, base.modify_to([(one, "P17", "Italy")]), steps=1)
    assert len(str(error.value)) <= 300 and "\n" not in str(error.value)
    with pytest.raises(ValueError, match="the subject"):
        kmod.score(model, base)
    kept = writable(base, model.tokenizer)
    assert [fact.subject for fact in kept] == ["Lima", "Rome"]
    assert "2 of 4 facts dropped" in kept.notes[-1] and "2 with a subject not in the vocabulary" in kept.notes[-1]
    assert kmod.known(model, kept) is not None


def test_a_subject_within_a_word_that_is_too_long_is_refused():
    """Where no spaces are written, the words of a statement are one word for WordPiece."""
    tokenizer = bert([*ENGLISH, *"กขค", "##ก", "##ข", "##ค"])
    facts = [Fact(s, "own", "cuba", ("ก" * 98 + f"{s} [MASK]",), (f"{s}: [MASK]",)) for s in ("ข", "ขขข", "คคค")]
    base, model = FactBase(facts), nano(tokenizer)
    assert [fact.subject for fact in writable(base, tokenizer)] == ["ข"]
    with pytest.raises(ValueError, match="the subject 'ขขข' cannot be written"):
        model.examples(base, "evidences")


def test_an_object_that_is_the_old_one_for_the_model_is_refused():
    model, base = nano(bert()), base_of(("A", "São Paulo"), ("B", "U.S."))
    for subject, new in (("A", "Sao Paulo"), ("B", "U. S.")):
        with pytest.raises(ValueError, match=f"this model reads '{new}' as it: choose another object"):
            kmod.finetune(model, base.modify_to([(subject, "P17", new)]), steps=1)
        with pytest.raises(ValueError, match="choose another object"):
            Session(model, base).change(base.find(subject, "P17"), new)


TEXTS = [
    "The capital of France is Paris.",
    '"Paris" (Paris) New York City',
    "Ville-Paris, L'Oréal",
    "São Paulo",
    "U.S.",
]
CHINESE = ["法国的首都是巴黎。", "日本的首都是东京。", "巴黎在法国", "東京"]


def unigram(scheme):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = sorted(set("".join(TEXTS + CHINESE)))
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator((TEXTS + CHINESE) * 20, trainer)
    return finished(tokenizer)


def byte_level(trim):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    return finished(tokenizer)


def finished(tokenizer):
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=512,
    )  # fmt: skip
    from tokenizers import AddedToken

    wrapped.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True, special=True)})
    return wrapped


KINDS = {
    "unigram, always": lambda: unigram("always"),
    "unigram, first": lambda: unigram("first"),
    "byte level": lambda: byte_level(True),
    "byte level, spaces in offsets": lambda: byte_level(False),
    "thai WordPiece": lambda: bert([*ENGLISH, *"คือปาริส", *(f"##{c}" for c in "คือปาริส"), "##ปาริส"]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "statement, name",
    [
        ("法国的首都是[MASK]。", "巴黎"),
        ("[MASK]在法国", "巴黎"),
        ("The capital of France is [MASK].", "Paris"),
        ("[MASK] is the capital of France.", "Paris"),
        ('It is "[MASK]" (yes).', "New York City"),
        ("Ville-[MASK], France", "Paris"),
        ("in the [MASK] of is", "U.S."),
        ("คือ[MASK]", "ปาริส"),
        ("The capital is [MASK]", "São Paulo"),
    ],
)
def test_the_slots_hold_the_pieces_of_the_written_text(kind, statement, name):
    tokenizer = KINDS[kind]()
    written = tokenizer(statement.replace("[MASK]", name))["input_ids"]
    if tokenizer.unk_token_id in written:
        pytest.skip("not in this vocabulary")
    examples = encode(tokenizer, [statement], [name], [0], 100)
    ids = examples.ids.copy()
    assert 0 < (ids == tokenizer.mask_token_id).sum() == len(examples.targets)
    ids[ids == tokenizer.mask_token_id] = examples.targets
    assert ids.tolist() == written
    assert alike(tokenizer.decode(examples.targets).strip().removeprefix("##")) == alike(name)


def test_an_object_whose_pieces_run_into_its_neighbours_has_those_that_it_has_there_alone():
    scores = {"<unk>": -9, "▁": -3, "是巴": -1, "是": -2.5, "巴": -4, "黎": -4, "巴黎": -2.5, "▁(": -3}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = finished(tokenizer)
    examples = encode(tokenizer, ["是[MASK]"], ["巴黎"], [0], 100)
    assert tokenizer.convert_ids_to_tokens(examples.targets) == ["巴黎"], "not ▁, 巴黎"
    assert pieces_of(tokenizer, ["巴黎"], "(") == [examples.targets.tolist()]


@pytest.mark.parametrize(
    "kind, name, statements, length",
    [
        ("unigram, always", "巴黎", ("法国的首都是[MASK]。", "[MASK]在法国"), 1),
        ("byte level", "Paris", ("In [MASK].", "[MASK] it is."), 1),
        ("byte level", "Paris", ("[MASK] it is.", "[MASK] is it."), None),
        ("byte level", "Paris", ("It is-[MASK].", "[MASK] it is."), None),
    ],
)
def test_the_length_of_an_object_is_that_in_its_statements(kind, name, statements, length):
    tokenizer = KINDS[kind]()
    length = length or len(tokenizer(name, add_special_tokens=False)["input_ids"])
    base = FactBase([Fact("A", "own", name, statements[:1], statements[1:])])
    assert len(encode(tokenizer, statements[:1], [name], [0], 100).targets) == length
    assert len(writable(base, tokenizer, length)) == 1
    if length > 1:
        with pytest.raises(ValueError, match="nothing is left"):
            writable(base, tokenizer, length - 1)


@pytest.mark.parametrize(
    "statement, subject, before",
    [
        ("Cuba, home of the Cubans, is in [MASK].", "Cuba", "cuba"),
        ("The Cubans of cuba. In [MASK]", "Cuba", "the cubans of cuba"),
        ("Cuba is in Cuba, near [MASK] of Cubans", "Cuba", "cuba is in cuba"),
        ("[MASK] is the home of CUBA", "Cuba", "[MASK] [MASK] [MASK] [MASK] is the home of cuba"),
        ("In [MASK], Cúba.", nfd("Cúba"), "in [MASK] [MASK] [MASK] [MASK], cuba"),
        ("The Cubans are in [MASK]", "Cuba", None),
    ],
)
def test_rome_reads_a_fact_at_the_last_mention_of_its_subject(statement, subject, before):
    model = nano(bert())
    (text,) = model.texts([statement], ["peru"])
    (last,) = last_tokens(model.tokenizer, [statement], [text], [subject])
    if before is None:
        assert last is None
        return
    examples = model.examples(FactBase([Fact(subject, "own", "peru", (statement,), ("in [MASK]",))]), "evidences")
    wanted = model.tokenizer(before, add_special_tokens=False)["input_ids"]
    assert examples.ids[1 : last + 1].tolist() == wanted


def test_messages_about_names_are_short():
    relations = [Relation(f"relation number {i}", "r", ("[X] [Y].",), ("[X]: [Y].",)) for i in range(99)]
    base = FactBase([Fact("A" * 500, r.id, "B" * 500) for r in relations], {r.id: r for r in relations})
    for ask in (
        lambda: base.find("A" * 500, "none"),
        lambda: base.find("B" * 500, "relation number 1"),
        lambda: base.find("B", "none"),
        lambda: base.relations["none"],
        lambda: nano(bert()).answers(["in " * 600 + "[MASK]"], ["cuba"]),
    ):
        with pytest.raises((KeyError, ValueError)) as error:
            ask()
        assert len(str(error.value)) <= 300


def test_the_commands_of_facts_know_a_name_without_accents(capsys, tmp_path):
    from kmod.cli import main

    table = tmp_path / "facts.csv"
    table.write_text("subject,relation,object,evidences,tests\nSão Paulo,P17,Brazil,In [MASK].,Of [MASK].\n", "utf-8")
    main(["facts", "show", "sao paulo", "--facts", str(table)])
    assert "Brazil" in capsys.readouterr().out


def test_ordinary_names_are_what_they_were(atlas):
    """Where no name has two spellings, nothing that is compared or drawn changes."""
    for fact in atlas:
        for name in (fact.subject, fact.object):
            assert normal(name) == unicodedata.normalize("NFC", name).strip().casefold()
    assert build_tokenizer(atlas).vocab_size == len(build_tokenizer(atlas))
