"""A model that is not what it seems is met at the door: one line says what is wrong and what to do."""

import copy
import shutil

import pytest
import torch

import kmod
from kmod.editing.methods import methods_for
from kmod.lab.session import Session
from kmod.models import MaskedLM

TRAIN = dict(steps=2, batch_size=8)
LEARN = {  # functions that train: of (model, change, facts, folder)
    "finetune": lambda m, c, f, d: kmod.finetune(m, c, **TRAIN),
    "kl": lambda m, c, f, d: kmod.kl(m, c, **TRAIN),
    "ewc": lambda m, c, f, d: kmod.ewc(m, c, weight=1.0, **TRAIN),
    "loss_constrained": lambda m, c, f, d: kmod.loss_constrained(m, c, delta=0.1, **TRAIN),
    "layernorm_tuning": lambda m, c, f, d: kmod.layernorm_tuning(m, c, **TRAIN),
    "lora": lambda m, c, f, d: kmod.lora(m, c, **TRAIN),
    "low_curvature": lambda m, c, f, d: kmod.low_curvature(m, c, evidences=10, **TRAIN),
    "rome": lambda m, c, f, d: kmod.rome(m, c, steps=2, evidences=10),
    "memit": lambda m, c, f, d: kmod.memit(m, c, steps=2, evidences=10),
    "alphaedit": lambda m, c, f, d: kmod.alphaedit(m, c, steps=2, evidences=10),
    "retrain": lambda m, c, f, d: kmod.retrain(m, c, start=m, epochs=0.01, least_steps=1, cache=False),
    "sweep": lambda m, c, f, d: kmod.sweep(m, [(c, None, 0)], **TRAIN),
    "sequence": lambda m, c, f, d: kmod.sequence(m, [c], **TRAIN),
    "choose": lambda m, c, f, d: kmod.choose(m, [c], [TRAIN], progress=False),
    "fisher_diagonal": lambda m, c, f, d: kmod.fisher_diagonal(m, c, evidences=3),
    "kfac_factors": lambda m, c, f, d: kmod.kfac_factors(m, c, evidences=3),
    "memorise": lambda m, c, f, d: kmod.memorise(m, f, least_steps=1, epochs=0.01, cache=False, progress=False),
    "pretrain": lambda m, c, f, d: kmod.pretrain(m, [1] * 400, d / "out", steps=1, length=8, held_out=1),
    "train_fae": lambda m, c, f, d: kmod.train_fae(m, f, least_steps=1, epochs=0.01, cache=False),
    "finetune_fae": lambda m, c, f, d: kmod.finetune_fae(m, c),
}
OTHERS = {
    "score": lambda m, c, f, d: kmod.score(m, f),
    "known": lambda m, c, f, d: kmod.known(m, f),
    "evaluate": lambda m, c, f, d: kmod.evaluate(m, f, c),
    "pseudo_perplexity": lambda m, c, f, d: kmod.pseudo_perplexity(m, ["It is late."]),
    "knn": lambda m, c, f, d: kmod.knn(m, c, epsilon=1.0),
    "add_facts": lambda m, c, f, d: kmod.add_facts(m, [f[0]]),
    "update_facts": lambda m, c, f, d: kmod.update_facts(m, c),
    "explain": lambda m, c, f, d: kmod.explain(m, "The capital of Peru is [MASK]."),
    "EditLab": lambda m, c, f, d: kmod.EditLab(m, f),
    "Session": lambda m, c, f, d: Session(m, f),
    "DeltaExplorer": lambda m, c, f, d: kmod.widgets.DeltaExplorer(m, c),
    "BlockChooser": lambda m, c, f, d: kmod.widgets.BlockChooser(m),
    "methods_for": lambda m, c, f, d: methods_for(m),
    "Edit.apply": lambda m, c, f, d: kmod.Edit({}, "2:x", "2:y").apply(m),
    "Edit.merge": lambda m, c, f, d: kmod.Edit({}, "2:x", "2:y").merge(m, d / "out"),
    "Edit.between": lambda m, c, f, d: kmod.Edit.between(m, {}, {}),
    "Datastore": lambda m, c, f, d: kmod.Datastore(torch.zeros(1, 1), torch.zeros(1), 0.0, "x")(m).__enter__(),
}
FAE = ("train_fae", "finetune_fae", "add_facts", "update_facts", "explain")


@pytest.fixture(scope="module")
def change(facts):
    return facts.modify(4, seed=0)


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) <= 300, text
    return text


@pytest.mark.parametrize("name", [*LEARN, *OTHERS])
def test_what_is_no_masked_lm_is_refused_by_every_function_that_takes_a_model(name, model, facts, change, tmp_path):
    call = (LEARN | OTHERS)[name]
    compiled = torch.compile(model)
    for wrong, says in (
        (model.net, r"wrap it as kmod\.MaskedLM\(net, tokenizer\)"),
        (facts, "the model comes first"),
        (change, "the model comes first"),
        ("bert-base-uncased", r"kmod\.load_model"),
        (None, r"kmod\.load_model"),
        (compiled, "compiled"),
    ):
        with pytest.raises(TypeError, match=says) as error:
            call(wrong, change, facts, tmp_path)
        one_line(error)


@pytest.mark.parametrize("name", ["finetune", "lora", "rome", "retrain", "kl", "knn", "fisher_diagonal", "evaluate"])
def test_facts_in_place_of_a_change_are_refused(name, model, facts, tmp_path):
    with pytest.raises(TypeError, match="a change is needed, such as") as error:
        (LEARN | OTHERS)[name](model, facts, facts, tmp_path)
    one_line(error)


@pytest.mark.parametrize("name", [name for name in LEARN if name not in FAE])
@pytest.mark.parametrize("inside", [torch.no_grad, torch.inference_mode])
def test_training_without_gradients_is_refused(name, inside, model, facts, change, tmp_path):
    with pytest.raises(ValueError, match=f"call this outside torch.{inside.__name__}") as error, inside():
        LEARN[name](model, change, facts, tmp_path)
    one_line(error)


def test_what_needs_no_gradient_works_without(model, facts, change):
    edit = kmod.finetune(model, change, block=-1, **TRAIN)
    for inside in (torch.no_grad, torch.inference_mode):
        with inside():
            assert kmod.evaluate(model, facts, change, edit=edit).A_M.facts == 4


@pytest.mark.parametrize("name", ["memorise", "pretrain"])
def test_a_frozen_model_cannot_be_trained_in_place_but_edited(name, model, facts, change, tmp_path):
    model.net.requires_grad_(False)
    with pytest.raises(ValueError, match=r"all parameters are frozen: model\.net\.requires_grad_\(True\)"):
        LEARN[name](model, change, facts, tmp_path)
    free = copy.deepcopy(model)
    free.net.requires_grad_(True)
    assert kmod.finetune(model, change, **TRAIN).after == kmod.finetune(free, change, **TRAIN).after


@pytest.mark.parametrize(
    ("net", "tokenizer", "says"),
    [
        (lambda m: torch.compile(m.net), lambda m: m.tokenizer, "as it was before torch.compile"),
        (lambda m: torch.nn.DataParallel(m.net), lambda m: m.tokenizer, r"net\.module"),
        (lambda m: m.tokenizer, lambda m: m.net, "the net comes first"),
        (lambda m: m, lambda m: m.tokenizer, "a model of kmod already"),
        (lambda m: "bert", lambda m: m.tokenizer, "a Hugging Face model is needed"),
        (lambda m: m.net, lambda m: "bert", "a tokeniser is needed"),
    ],
)
def test_only_a_plain_net_and_its_tokeniser_make_a_masked_lm(net, tokenizer, says, model):
    with pytest.raises(TypeError, match=says) as error:
        MaskedLM(net(model), tokenizer(model))
    one_line(error)


def test_tokens_added_without_new_rows_are_refused(model, tmp_path):
    model.tokenizer.add_tokens(["zyzzyva", "kmodium"])
    model.save(tmp_path)
    for make in (lambda: MaskedLM(model.net, model.tokenizer), lambda: kmod.load_model(tmp_path, device="cpu")):
        with pytest.raises(ValueError, match=r"net\.resize_token_embeddings\(len\(tokenizer\)\)") as error:
            make()
        one_line(error)
    model.net.resize_token_embeddings(len(model.tokenizer))
    assert MaskedLM(model.net, model.tokenizer).nameless == []


def test_a_row_that_no_token_has_is_no_answer(model, facts):
    """Many models have more rows than tokens, so that their number is a multiple of 8."""
    known = kmod.known(model, facts)
    tokens = len(model.tokenizer)
    model.net.resize_token_embeddings(tokens + 5, mean_resizing=False)
    with torch.no_grad():
        model.net.cls.predictions.bias[tokens:] = 100
    padded = MaskedLM(model.net, model.tokenizer)
    assert (kmod.known(padded, facts) == known).all() and known.any()
    answers = padded.answers([facts.tests(facts[0])[0]], [facts[0].object])[0]
    assert all(text for text, _ in answers)


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_folder_without_its_tokeniser_is_not_the_object_s_fault(folder):
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()
    with pytest.raises(ValueError, match=r"the tokeniser has 5 pieces .* files are missing") as error:
        kmod.load_model(folder, device="cpu")
    one_line(error)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_in_place_of_a_file_is_called_one(name, folder):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 133\n")
    with pytest.raises(ValueError, match=f"{name} is a Git LFS pointer.*git lfs pull") as error:
        kmod.load_model(folder, device="cpu")
    one_line(error)


@pytest.mark.parametrize("kept", [0, 4, 100, 20_000, -1])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_was_cut_off_is_called_damaged(name, kept, folder):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: min(kept, len(whole) // 2) if kept >= 0 else -3])
    with pytest.raises((ValueError, OSError)) as error:
        kmod.load_model(folder, device="cpu")
    assert "again" in one_line(error)


def test_weights_of_other_shapes_than_config_json_says(folder):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"hidden_size": 128', '"hidden_size": 64'))
    with pytest.raises(ValueError, match=r"do not fit its config\.json") as error:
        kmod.load_model(folder, device="cpu")
    one_line(error)


def test_a_family_without_a_masked_model_is_named(folder):
    shutil.copytree(folder, folder / "t5")
    (folder / "t5" / "config.json").write_text('{"model_type": "t5", "vocab_size": 100}')
    with pytest.raises(ValueError, match="is a t5, a family without a masked or causal language model") as error:
        kmod.load_model(folder / "t5", device="cpu")
    one_line(error)


def test_another_model_differs_in_type_shape_or_values(model, facts, change):
    edit = kmod.finetune(model, change, block=-1, **TRAIN)
    half, other = copy.deepcopy(model), copy.deepcopy(model)
    half.net.bfloat16()
    with torch.no_grad():
        next(other.net.parameters()).add_(1)
    wider = kmod.load_model("mini", facts, device="cpu")
    shallow = kmod.load_model("albert-nano", facts, device="cpu")
    cases = ((half, "the type of .* is bfloat16"), (wider, "the shape of .* is "), (shallow, "has no bert"))
    for wrong, says in (*cases, (other, "other values")):
        with pytest.raises(kmod.WrongModelError, match=f"made for another model.*{says}") as error:
            edit.apply(wrong)
        one_line(error)


@pytest.mark.parametrize(
    "ask, says",
    {
        "writable": (lambda m, f: kmod.writable("atlas", m.tokenizer), "facts are needed"),
        "single_token": (lambda m, f: kmod.single_token("atlas", m.tokenizer), "facts are needed"),
        "tokeniser": (lambda m, f: kmod.writable(f, "bert"), "a tokeniser is needed, such as model.tokenizer"),
        "evaluate": (lambda m, f: kmod.evaluate(m, "atlas", f.modify(2, seed=0)), "facts are needed"),
        "score": (lambda m, f: kmod.score(m, "atlas"), "facts are needed"),
        "known": (lambda m, f: kmod.known(m, "atlas"), "facts are needed"),
        "edit": (lambda m, f: kmod.finetune(m, "atlas"), "a change is needed"),
        "alternatives": (lambda m, f: f.alternatives("France"), r"a fact is needed, such as facts\[0\]"),
    }.values(),
)
def test_a_name_in_place_of_facts_is_refused(ask, says, model, facts):
    with pytest.raises(TypeError, match=says) as error:
        ask(model, facts)
    one_line(error)
