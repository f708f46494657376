"""One small interface over any masked LM: the fast path, the tokeniser, what is refused."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

import kmod
from kmod.models import MaskedLM, evaluating
from kmod.models.statements import encode

SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, pad_token_id=0)
FAMILIES = {
    "bert": SMALL,
    "roberta": SMALL,
    "distilbert": dict(dim=16, n_layers=2, n_heads=2, hidden_dim=32, pad_token_id=0),
    "albert": SMALL | dict(embedding_size=8),
    "electra": SMALL | dict(embedding_size=8),
    "deberta-v2": SMALL,
    "modernbert": SMALL | dict(bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3),
    "mpnet": SMALL | dict(bos_token_id=2, eos_token_id=3),
}


def slow_logits(model, examples):
    """The full-vocabulary logits of every token, then the slots: what the fast path must equal."""
    rows = []
    with torch.no_grad(), evaluating(model):
        for i in range(len(examples)):
            ids = torch.from_numpy(examples.ids[examples.starts[i] : examples.starts[i + 1]]).long()[None]
            logits = model.net(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            rows.append(logits[ids == examples.mask_id])
    return torch.cat(rows)


def fast_logits(model, examples, batch_size):
    parts = {}
    for positions, logits, batch in model.logits(examples, batch_size):
        for row, position in enumerate(positions.tolist()):
            parts[position] = logits[batch.rows == row]
    return torch.cat([parts[i] for i in range(len(examples))])


@pytest.mark.parametrize("text", ["No mask.", "[MASK] and [MASK]", "A <mask>.", "x" * 5000, 3])
def test_a_question_without_one_mask_is_told_so(model, text):
    """Not that it holds the model's own mask token."""
    with pytest.raises(ValueError, match=r"(needs|text with one) \[MASK\]") as error:
        model.answers([text], ["x"])
    assert "model's own mask token beside" not in str(error.value) and len(str(error.value)) <= 300


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_slots_pass_the_decoder_and_answer_the_same(family, facts, model):
    """Batched, padded, slots only = one by one, unpadded, every token; for each family of architectures."""
    config = AutoConfig.for_model(family, vocab_size=len(model.tokenizer), **FAMILIES[family])
    torch.manual_seed(0)
    other = MaskedLM(AutoModelForMaskedLM.from_config(config).eval(), model.tokenizer)
    assert other.head is not None
    examples = other.examples(facts, "tests", facts[::8])
    assert len(examples.targets) > len(examples)  # objects of several word pieces among them
    slow = slow_logits(other, examples)
    torch.testing.assert_close(fast_logits(other, examples, 7), slow, rtol=1e-4, atol=1e-5)
    other.head = None  # the path of an unknown architecture
    torch.testing.assert_close(fast_logits(other, examples, 7), slow, rtol=1e-4, atol=1e-5)


def test_answers_agree_with_correct(model, facts):
    statements = [facts.tests(f)[0] for f in facts[:40]]
    objects = [f.object for f in facts[:40]]
    answers = model.answers(statements, objects)
    examples = encode(model.tokenizer, statements, objects, range(40), model.limit)
    pieces = [model.tokenizer(o, add_special_tokens=False)["input_ids"] for o in objects]
    right = [a[0][0] == model.tokenizer.decode(p) for a, p in zip(answers, pieces, strict=True)]
    assert right == model.correct(examples).tolist()
    for best in answers:
        chances = [p for _, p in best]
        assert len(best) == 5 and chances == sorted(chances, reverse=True) and 0 <= sum(chances) <= 1 + 1e-5


def test_an_object_outside_the_vocabulary_is_refused_by_name(model, facts):
    with pytest.raises(ValueError, match="the object '東京' cannot be written"):
        kmod.finetune(model, facts.modify_to([(facts[0].subject, facts[0].relation, "東京")]))


def test_byte_level_pieces_are_those_of_running_text():
    """In a byte-level vocabulary a word after a space has pieces of its own."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    learner = ByteLevelBPETokenizer()
    text = ["The capital of France is Paris.", "Paris is the capital of France.", "He lives in New York City."] * 4
    learner.train_from_iterator(
        text, vocab_size=400, min_frequency=2, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    parts = json.loads(learner.to_str())["model"]
    tokenizer = RobertaTokenizer(vocab=parts["vocab"], merges=[tuple(merge) for merge in parts["merges"]])
    statements = ["The capital of France is [MASK].", "[MASK] is the capital of France.", "He lives in [MASK]."]
    objects = ["Paris", "Paris", "New York City"]
    examples = encode(tokenizer, statements, objects, range(3), 100)
    for i, (statement, name) in enumerate(zip(statements, objects, strict=True)):
        whole = tokenizer(statement.replace("[MASK]", name))["input_ids"]
        ids = examples.ids[examples.starts[i] : examples.starts[i + 1]].copy()
        ids[ids == tokenizer.mask_token_id] = examples.targets[
            examples.target_starts[i] : examples.target_starts[i + 1]
        ]
        assert ids.tolist() == whole


def test_a_checkpoint_without_a_masked_lm_head_is_refused(model, tmp_path):
    model.net.bert.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is no masked language model: its weights lack cls"):
        kmod.load_model(tmp_path, device="cpu")


def test_half_precision_files_are_edited_in_float32(model, tmp_path):
    model.net.half().save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    assert next(kmod.load_model(tmp_path, device="cpu").parameters()).dtype == torch.float32


def test_a_vocabulary_smaller_than_the_alphabet_is_refused(facts):
    with pytest.raises(ValueError, match="vocab_size must be at least"):
        kmod.load_model("nano", facts, vocab_size=20)


def test_a_statement_that_is_too_long_is_refused(model):
    with pytest.raises(ValueError, match="more than this model's 512"):
        encode(model.tokenizer, ["word " * 600 + "[MASK]"], ["piano"], [0], model.limit)


def test_modes_are_restored_one_by_one(model, facts):
    model.train()
    model.net.cls.eval()
    before = [m.training for m in model.modules()]
    model.correct(model.examples(facts, "tests", facts[:4]))
    assert [m.training for m in model.modules()] == before


def test_presets_have_the_published_shapes(facts):
    shapes = {
        "nano": (4, 128),
        "mini": (4, 256),
        "small": (4, 512),
        "medium": (8, 512),
        "base": (12, 768),
        "large": (24, 1024),
    }
    assert list(kmod.models.PRESETS) == list(shapes)
    for name in ("nano", "mini", "small"):
        model = kmod.load_model(name, facts, device="cpu")
        config = model.net.config
        assert (config.num_hidden_layers, config.hidden_size) == shapes[name]
        assert (
            config.intermediate_size == 4 * config.hidden_size
            and config.hidden_size // config.num_attention_heads == 64
        )


def test_weights_and_vocabulary_depend_on_the_seed_and_the_facts_alone(facts):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = kmod.load_model("nano", facts, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert kmod.load_model("nano", facts, device="cpu").fingerprint() == first.fingerprint()
    assert kmod.load_model("nano", facts, seed=1, device="cpu").fingerprint() != first.fingerprint()


def test_test_phrasings_do_not_reach_the_vocabulary(facts):
    """The tokeniser, too, is built from the evidences alone."""
    from kmod.facts import FactBase, Relation

    odd = {
        id: Relation(id, r.label, r.evidences, (*r.tests, f"zyzzyva [X] [Y] {id}")) for id, r in facts.relations.items()
    }
    other = FactBase(list(facts), odd, "odd")
    assert kmod.models.build_tokenizer(other).get_vocab() == kmod.models.build_tokenizer(facts).get_vocab()


def test_loading_from_a_folder_and_what_is_refused(model, facts, tmp_path):
    model.save(tmp_path / "saved")
    again = kmod.load_model(tmp_path / "saved", device="cpu")
    assert again.fingerprint() == model.fingerprint()
    with pytest.raises(ValueError, match="needs facts to build its vocabulary"):
        kmod.load_model("nano")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no model"):
        kmod.load_model(tmp_path / "empty")
    with pytest.raises(OSError, match="presets: nano, mini, small, medium, base, large"):
        kmod.load_model("nanoo", facts)


def test_a_preset_is_a_preset_whatever_the_working_folder_holds(model, facts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nano", "nano-wiki", "fae-nano"):
        model.save(name)
        with pytest.warns(UserWarning, match=f"for the folder of that name say ./{name}$"):
            assert kmod.load_model(name, facts, device="cpu").fingerprint() != model.fingerprint()
        for folder in (f"./{name}", tmp_path / name, Path(name)):
            assert kmod.load_model(folder, facts, device="cpu").fingerprint() == model.fingerprint()


def test_albert_presets_share_one_block(facts):
    model = kmod.load_model("albert-nano", facts, device="cpu")
    assert type(model.net).__name__ == "AlbertForMaskedLM" and len(kmod.parts.blocks(model.net)) == 1
    assert model.net.config.num_hidden_layers == 4


def test_unknown_models_list_the_packaged_ones():
    with pytest.raises(OSError, match="minilm"):
        kmod.load_model("no-such-folder-or-model")
