"""Decoders through the same verbs as encoders: each family as a small random model, against plain transformers."""

import copy
import math

import numpy as np
import pytest
import torch
from test_fae import toy_facts
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

import kmod
from kmod.evaluation import judge
from kmod.lab import Session, Settings
from kmod.models.causal_lm import CausalLM
from kmod.models.loading import is_causal
from kmod.models.upper import upper
from kmod.models.vocabulary import statements_with_objects

SMALL = dict(vocab_size=400, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=64)
GATED = SMALL | dict(intermediate_size=48, num_key_value_heads=2, head_dim=8)
FAMILIES = {
    "gpt2": SMALL,
    "llama": GATED,
    "qwen2": GATED,
    "qwen3": GATED,
    "gpt_neox": SMALL | dict(intermediate_size=64),
    "opt": dict(vocab_size=400, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=64,
                word_embed_proj_dim=16, max_position_embeddings=64),
    "gemma": GATED,
    "gemma2": GATED | dict(sliding_window=16),
}  # fmt: skip


@pytest.fixture(scope="module")
def facts():
    return kmod.left_to_right(toy_facts())


@pytest.fixture(scope="module")
def tokenizer(facts):
    """A byte-level tokeniser as GPT-2's, without a token to pad with, to begin or to mask."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = statements_with_objects(facts)
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=380, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=bpe)


def build(family, tokenizer):
    config = AutoConfig.for_model(family, **FAMILIES[family], bos_token_id=None, eos_token_id=None, pad_token_id=None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CausalLM(AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval(), tokenizer)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, facts, tokenizer):
    """A small random model of a family that has memorised the toy facts in part."""
    model = build(request.param, tokenizer)
    kmod.memorise(model, facts, epochs=25, batch_size=24, lr=4e-3, least_steps=1, cache=False, progress=False)
    return model


def plain_logits(model, statement, name):
    """(pieces, V): by transformers alone, one statement at a time, without padding."""
    front = statement[: statement.index("[MASK]")].rstrip()
    before, whole = (model.tokenizer(text)["input_ids"] for text in (front, f"{front} {name}"))
    assert whole[: len(before)] == before
    with torch.no_grad():
        logits = model.net(torch.tensor([whole])).logits[0]
    return logits[len(before) - 1 : len(whole) - 1], whole[len(before) :]


def test_logits_of_the_slots_are_those_of_plain_transformers(family, facts):
    examples = family.examples(facts, "evidences")
    asked = [(s, f.object) for f in facts for s in facts.evidences(f)]
    found = {}
    for positions, logits, batch in family.logits(examples, 7):
        for row, i in enumerate(positions.tolist()):
            found[i] = logits[batch.rows == row]
    assert len(found) == len(asked) == len(examples)
    for i, (statement, name) in enumerate(asked):
        expected, pieces = plain_logits(family, statement, name)
        assert examples.targets[slice(*examples.target_starts[i : i + 2])].tolist() == pieces
        assert torch.allclose(found[i], expected, atol=1e-4), statement
    assert not family.apart and family.head is not None


def test_kept_states_give_the_edit_of_the_whole_model(family, facts, monkeypatch):
    change = facts.modify(2, seed=0)
    quick = kmod.finetune(family, change, block=-1, steps=4)
    monkeypatch.setattr("kmod.training.loop.activations", lambda *_, **__: None)
    slow = kmod.finetune(family, change, block=-1, steps=4)
    own_code = upper(family, 2) is None
    assert own_code == (type(family.net).__name__ != "GPT2LMHeadModel")
    assert slow.made["curve"] == pytest.approx(quick.made["curve"], rel=1e-3)


def test_right_is_what_greedy_decoding_says(family, facts):
    """`evaluate` and `generate` of the plain model agree on every statement, before an edit and after it is merged."""
    change = facts.modify(3, seed=0)
    edit = kmod.finetune(family, change, block="all", steps=15)
    start = family.fingerprint()
    merged = copy.deepcopy(family)
    edit.apply(merged)
    n = 0
    for model, about in ((family, list(facts)), (merged, change.modified)):
        for kind in ("evidences", "tests"):
            examples = model.examples(facts, kind, about)
            right = model.correct(examples).tolist()
            asked = [(s, f.object) for f in about for s in getattr(facts, kind)(f)]
            for (statement, name), ours in zip(asked, right, strict=True):
                front = model.tokenizer(statement[: statement.index("[MASK]")].rstrip(), return_tensors="pt")
                length = len(plain_logits(model, statement, name)[1])
                out = model.net.generate(
                    front["input_ids"], do_sample=False, max_new_tokens=length, min_new_tokens=length, pad_token_id=0
                )
                said = model.tokenizer.decode(out[0, front["input_ids"].shape[1] :])
                assert (said.strip() == name) == ours, (statement, said)
                n += 1
    assert n > 50 and family.fingerprint() == start
    best = kmod.evaluate(family, facts, change, edit=edit).A_M.value
    assert best == pytest.approx(np.mean(merged.correct(merged.examples(facts, "tests", change.modified)).numpy()))


def test_an_edit_is_undone_saved_merged_and_read_by_transformers(family, facts, tmp_path):
    start = family.fingerprint()
    change = facts.modify(2, seed=1)
    edit = kmod.finetune(family, change, block=[0, 2], constraint=kmod.Linf(1e-2), steps=5)
    edit.save(tmp_path / "edit.safetensors")
    edit = kmod.Edit.load(tmp_path / "edit.safetensors")
    edit.apply(family)
    assert family.fingerprint() == edit.after != start
    family.save(tmp_path / "merged")
    edit.undo(family)
    assert family.fingerprint() == start
    again = kmod.load_model(tmp_path / "merged")
    assert type(again) is CausalLM
    if len(again.tokenizer) == len(family.tokenizer):  # transformers gives Qwen's its own end of text
        assert again.fingerprint() == edit.after
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(plain(ids).logits, again.net(ids).logits)


@pytest.mark.parametrize("method", [m for m in kmod.editing.methods.METHODS if m not in ("retrain", "kNN")])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_method_edits_a_decoder(method, name, facts, tokenizer):
    entry = kmod.editing.methods.find(CausalLM, method) if method != "LoRA" or pytest.importorskip("peft") else None
    model = build(name, tokenizer)
    start = model.fingerprint()
    session = Session(model, facts)
    change = session.change(0, next(o for o in facts.objects(facts[0].relation) if o != facts[0].object))
    edit = Settings(method, 1, None if method in ("FT-L",) else "Linf", 5e-2, 3, family=CausalLM).make(model, change)
    assert entry.function is not None and model.fingerprint() == start == edit.before != edit.after
    step = session.commit(edit, change)
    assert session.undo() is step and model.fingerprint() == start


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_rome_writes_the_matrix_that_its_equation_says(name, facts, tokenizer):
    model = build(name, tokenizer)
    change = facts.modify(1, seed=0)
    edit = kmod.rome(model, change, block=1, steps=20)
    (tensor,) = edit.xor
    assert tensor.endswith({"gpt2": "1.mlp.c_proj.weight", "llama": "1.mlp.down_proj.weight"}[name])
    asked = [s for f in change.modified for s in facts.evidences(f)]
    before = model.answers(asked, [change.objects[0]] * len(asked))
    with edit(model):
        loss = [
            -sum(math.log(max(p, 1e-9)) for t, p in a if t == change.objects[0])
            for a in model.answers(asked, [change.objects[0]] * len(asked), 50)
        ]
        assert model.answers(asked, [change.objects[0]] * len(asked)) != before and len(loss) == len(asked)


def test_kfac_of_a_layer_that_is_turned_is_that_of_a_plain_one(facts, tokenizer):
    """GPT-2's layer and a `Linear` with the same matrix, transposed, have the same curvature and open directions."""
    model, plain = build("gpt2", tokenizer), build("gpt2", tokenizer)
    layer = plain.net.transformer.h[1].mlp.c_proj
    linear = torch.nn.Linear(*layer.weight.shape)
    linear.weight.data, linear.bias.data = layer.weight.data.T.contiguous(), layer.bias.data
    plain.net.transformer.h[1].mlp.c_proj = linear
    change, name = facts.modify(2, seed=0), "transformer.h.1.mlp.c_proj.weight"
    ours, theirs = (kmod.kfac_factors(m, change, component=name, evidences=30)[name] for m in (model, plain))
    assert all(torch.allclose(a, b, rtol=1e-4) for a, b in zip(ours, theirs[::-1], strict=True))
    moved = torch.randn(linear.weight.shape, generator=torch.Generator().manual_seed(0))
    sizes = []
    for factors, delta in ((ours, moved.T), (theirs, moved)):
        origin = {name: torch.zeros_like(delta)}
        ball = kmod.KFAC(1.0, {name: factors})
        ball.check(origin)
        sizes.append(ball.norm({name: delta}, origin))
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-4)


def test_answers_are_the_greedy_one_and_then_the_most_probable(facts, tokenizer):
    model = build("gpt2", tokenizer)
    statement, name = facts.evidences(facts[0])[0], facts[0].object
    examples = model.asked([statement], [name])
    count = len(examples.targets)
    (ranked,) = model.ranked(examples, 3)
    front = model.tokenizer(statement[: statement.index("[MASK]")].rstrip())["input_ids"]

    def steps(prefix):
        with torch.no_grad():
            return model.net(torch.tensor([front + prefix])).logits[0, -1].log_softmax(-1)

    greedy, score = [], 0.0
    for _ in range(count):
        logp = model.named(steps(greedy)[None])[0]
        token = int(logp.argmax())
        greedy, score = [*greedy, token], score + float(logp[token])
    assert ranked[0][0] == greedy and ranked[0][1] == pytest.approx(score, abs=1e-4)
    assert [s for _, s in ranked[1:]] == sorted((s for _, s in ranked[1:]), reverse=True)
    for pieces, said in ranked:
        assert said == pytest.approx(sum(float(steps(pieces[:i])[piece]) for i, piece in enumerate(pieces)), abs=1e-4)
    assert judge(model, [statement], [name])[1] == model.correct(examples).tolist()


def test_perplexity_is_that_of_plain_transformers(facts, tokenizer):
    model = build("gpt2", tokenizer)
    sentences = ["Arva lies in Upper Tam.", "Belm is a town, and a small one.", "Low."]
    loss, n = 0.0, 0
    model.net.requires_grad_(False)
    for sentence in sentences:
        ids = torch.tensor([tokenizer(sentence)["input_ids"]])
        if ids.shape[1] > 1:
            loss += float(model.net(ids, labels=ids).loss) * (ids.shape[1] - 1)
            n += ids.shape[1] - 1
    found = kmod.pseudo_perplexity(model, sentences)
    assert found.tokens == n and found.value == pytest.approx(math.exp(loss / n), rel=1e-4)


def test_statements_with_words_after_the_mask_are_left_out_with_a_count_or_refused(atlas, tokenizer):
    facts = kmod.left_to_right(atlas)
    assert len(facts) == len(atlas) and "75 of 290 phrasings and 0 of 2,206 facts left out" in facts.notes[-1]
    for fact in facts:
        for statement in (*facts.evidences(fact), *facts.tests(fact)):
            assert not any(c.isalnum() for c in statement.partition("[MASK]")[2])
    model = build("gpt2", tokenizer)
    with pytest.raises(ValueError, match="reads from left to right"):
        model.answers(["[MASK] is the capital of France."], ["Paris"])
    with pytest.raises(ValueError, match="reads from left to right"):
        kmod.memorise(model, toy_facts(), progress=False)
    none = kmod.FactBase([kmod.Fact("a", "P1", "b", ("[MASK] has a.",), ("[MASK] is of a.",))])
    with pytest.raises(ValueError, match="no fact of facts has an evidence and a test"):
        kmod.left_to_right(none)


def test_padding_of_any_token_is_never_seen(facts, tokenizer):
    model = build("llama", tokenizer)
    long, short = max(facts, key=lambda f: len(f.subject)), min(facts, key=lambda f: len(f.subject))
    alone = model.answers([facts.evidences(short)[0]], [short.object])
    together = model.answers([facts.evidences(short)[0], facts.evidences(long)[0]], [short.object, long.object])
    assert [p for _, p in together[0]] == pytest.approx([p for _, p in alone[0]], abs=1e-5)


def test_presets_and_their_names(atlas):
    facts = kmod.left_to_right(atlas).sample(20)
    model = kmod.load_model("gpt-nano", facts)
    assert type(model) is CausalLM and sum(p.numel() for p in model.net.parameters()) == model.net.num_parameters()
    assert {b for b, _ in kmod.parts.layout(model.net).values() if b is not None} == {0, 1, 2, 3}
    assert kmod.load_model("gpt-nano", facts, seed=0).fingerprint() == model.fingerprint()
    names = "GPT2LMHeadModel LlamaForCausalLM BertLMHeadModel XLMWithLMHeadModel BertForMaskedLM".split()
    assert [is_causal(n) for n in names] == [True, True, True, False, False]


def test_a_decoder_in_the_lab(facts, tokenizer, tmp_path):
    pytest.importorskip("ipywidgets")
    model = build("gpt2", tokenizer)
    kmod.memorise(model, facts, epochs=25, batch_size=24, lr=4e-3, least_steps=1, cache=False, progress=False)
    lab = kmod.EditLab(model, facts, tmp_path)
    fact = facts[0]
    lab.pick(fact.subject, fact.relation)
    lab.choosing.new.value = next(o for o in facts.objects(fact.relation) if o != fact.object)
    lab.how.delta.value, lab.how.block.value = 0.3, "all"
    lab.start()
    lab.wait(60, broken=True)
    (step,) = lab.session.steps
    assert "learnt" in lab.run.verdict.value and "other facts broke" in lab.run.verdict.value, lab.run.status.value
    assert step.report.learnt.value == 1


def test_the_beam_with_every_token_finds_the_best_of_all(facts, tokenizer):
    """With a beam as wide as the vocabulary, the second answer is the most probable of all but the greedy one."""
    model = build("gpt2", tokenizer)
    examples = model.following([[5, 6, 7]], [[1, 2]], [0])
    width = 400
    (ranked,) = model.ranked(examples, width)
    with torch.no_grad():
        first = model.named(model.net(torch.tensor([[5, 6, 7]])).logits[:, -1].log_softmax(-1))[0]
        rows = torch.tensor([[5, 6, 7, i] for i in range(width)])
        second = model.named(model.net(rows).logits[:, -1].log_softmax(-1))
    every = (first[:, None] + second).flatten()
    top = every.topk(3)
    pairs = [list(divmod(int(i), width)) for i in top.indices]
    assert all(pair in [pieces for pieces, _ in ranked[:4]] for pair in pairs)
    assert ranked[1][0] in pairs
