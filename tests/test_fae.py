"""FaE as a model: the equations against slow, plain references; mentions; saving; what it refuses."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

import kmod
from kmod import Fact, FactBase, Relation
from kmod.fae import FaEConfig, FaEForMaskedLM, Names, Rows, build_fae
from kmod.fae.config import ENTITY_SIZE
from kmod.fae.losses import Losses, bio, step_losses
from kmod.fae.memory import largest
from kmod.fae.sampling import sample_memory
from kmod.fae.statements import Statement, encode_mentions, masked_statement, place, whole_statement

TOWNS = "Arva Belm Cort Dune Esk Fyre Gant Holm Iver Jura Kell Lorn Mesa Nara Osby Pell".split()
LANDS = "Upper Tam,Low Rill,Quor,Sedd".split(",")


def toy_facts() -> FactBase:
    """16 towns, each with a country and half with a twin town: 24 facts, names of several words, shared objects."""
    relations = {
        "P17": Relation("P17", "country", ("[X] lies in [Y].", "[Y] holds the town [X]."), ("[X] lies in [Y]",)),
        "P190": Relation(
            "P190",
            "twin town",
            ("[X] is twinned with [Y].", "The town [Y] is twinned with [X]."),
            ("[X] is twinned with [Y]",),
        ),
    }
    facts = [Fact(town, "P17", LANDS[i % 4]) for i, town in enumerate(TOWNS)]
    facts += [Fact(town, "P190", TOWNS[-1 - i]) for i, town in enumerate(TOWNS[:8])]
    return FactBase(facts, relations, "toy")


def tiny_bert(facts, seed=0):
    from transformers import BertConfig, BertForMaskedLM

    from kmod.models import build_tokenizer

    tokenizer = build_tokenizer(facts, 2000)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.1,
    )  # fmt: skip
    return kmod.MaskedLM(BertForMaskedLM(config).eval(), tokenizer)


@pytest.fixture(scope="module")
def toy():
    return toy_facts()


@pytest.fixture
def fae(toy):
    model = build_fae(tiny_bert(toy), toy, entity_size=16, entity_top=5, fact_top=4)
    torch.manual_seed(1)
    with torch.no_grad():  # so that no part is silent
        model.net.fact_memory.null.normal_()
        for p in (model.net.entity_embeddings.weight, model.net.fact_memory.relation_embeddings.weight):
            p.normal_()
    return model


@pytest.fixture
def batch(fae, toy):
    examples = fae.examples(toy, "evidences")
    return examples.collate(np.arange(0, len(examples), 3))


def spans_by_hand(hidden, spans):
    return torch.stack([torch.cat([hidden[b, s], hidden[b, t]]) for b, s, t in spans.tolist()])


# ---------------------------------------------------------------- the model is its BERT, and more


def test_with_empty_memories_it_is_its_bert_to_the_bit(fae, toy, batch):
    bert = tiny_bert(toy).net
    before = {name: tensor.clone() for name, tensor in bert.state_dict().items()}
    net = FaEForMaskedLM.from_bert(bert, entities=4, entity_size=8, relations=2, fact_capacity=3).eval()
    mentions = batch.slots.spans
    inputs = dict(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    with torch.no_grad():
        net.linking.weight.normal_()
        with_entities = net(**inputs, mentions=mentions).logits
        net.entity_embeddings.weight.zero_()
        out = net(**inputs, mentions=mentions, asked=batch.slots.asked)
        plain = bert(**inputs).logits
    assert torch.equal(out.logits, plain)
    assert not torch.allclose(with_entities, plain)  # the entity memory does say something when it is not zero
    assert torch.equal(out.retrieved.null, torch.ones_like(out.retrieved.null))  # λ = 0: no fact fits
    assert all(torch.equal(tensor, before[name]) for name, tensor in bert.state_dict().items())
    assert torch.equal(net(**inputs).logits, plain)  # and with no mentions at all
    assert [name for name, _ in kmod.parts.blocks(net)] == [name for name, _ in kmod.parts.blocks(bert)]


def test_an_empty_fact_memory_leaves_the_answer_to_the_context(fae, toy, batch):
    fae.set_facts([])
    net, memory = fae.net, fae.net.memory()
    with torch.no_grad():
        hidden = net.encode(batch.input_ids, batch.attention_mask, batch.slots.spans, memory, 5).hidden
        spans = spans_by_hand(hidden, batch.slots.spans[batch.slots.asked])
        for top in (4, None):
            answers, context, _ = net.answer(spans, memory, top)
            assert torch.allclose(answers, context, atol=1e-6)


@pytest.mark.parametrize("top", [None, 5, 1000])
def test_entity_memory_equals_its_equations(fae, batch, top):
    net, spans = fae.net, batch.slots.spans
    E, layer = net.entity_embeddings.weight, net.entity_memory
    torch.manual_seed(0)
    hidden = torch.randn(*batch.input_ids.shape, 32)
    with torch.no_grad():
        ours, scores, ids = layer(hidden, spans, net.memory(), top)
        expected = hidden.clone()
        for m, (b, s, t) in enumerate(spans.tolist()):
            h = layer.query.weight @ torch.cat([hidden[b, s], hidden[b, t]])  # W_f [x_s ‖ x_t]
            score = torch.tensor([float(h @ e) for e in E])
            near = score.argsort(descending=True)[: top or len(E)]
            alpha = [math.exp(score[e] - score[near].logsumexp(0)) for e in near]
            found = sum(a * E[e] for a, e in zip(alpha, near, strict=True))
            x = hidden[b, s] + layer.back.weight @ found
            x = (x - x.mean()) / (x.var(unbiased=False) + layer.LayerNorm.eps).sqrt()
            expected[b, s] = x * layer.LayerNorm.weight + layer.LayerNorm.bias
            kept = score[near].sort(descending=True).values
            assert ids is None or ids[m].tolist() == near.tolist()
            assert torch.allclose(scores[m].sort(descending=True).values, kept, atol=1e-4)
    assert torch.allclose(ours, expected, atol=1e-4)
    assert ours.shape == hidden.shape and scores.shape == (len(spans), min(top or len(E), len(E)))


@pytest.mark.parametrize("top", [None, 4, 1000])
def test_fact_memory_and_mixing_equal_their_equations(fae, toy, batch, top):
    """Keys made one by one, sets of tails, the null row, λ, and the answer."""
    extra = [("Arva", "P17", "Quor"), ("Arva", "P17", "Sedd")]  # a row with three tails
    kmod.add_facts(fae, extra).apply(fae)
    net, facts = fae.net, fae.net.fact_memory
    E = net.entity_embeddings.weight
    spans = torch.randn(len(batch.targets), 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers, context, retrieved = net.answer(spans, net.memory(), top)
        used = [r for r in range(len(facts.subjects)) if facts.subjects[r] >= 0]
        assert len(used) == len(toy)
        for k, span in enumerate(spans):
            v = facts.query.weight @ span  # W_v [h_s ‖ h_t]
            scores = {None: v @ facts.null}
            for r in used:
                relation = facts.relation_embeddings.weight[facts.relations[r]]
                scores[r] = v @ (facts.key.weight @ torch.cat([E[facts.subjects[r]], relation]))  # v · W_a [e ; r]
            kept = sorted(used, key=lambda r: -scores[r])[: top or None]
            total = torch.stack([scores[r] for r in [None, *kept]]).logsumexp(0)
            p = {r: (scores[r] - total).exp() for r in [None, *kept]}
            lam = 1 - p[None]
            f = torch.zeros(16)
            for r in kept:
                tails = [int(t) for t in facts.tails[r] if t >= 0]
                f += p[r] / lam * torch.stack([E[t] for t in tails]).mean(0)
            h_ctx = net.linking.weight @ span
            final = (1 - lam) * h_ctx + lam * f
            assert torch.allclose(answers[k], E @ final, atol=1e-3)
            assert torch.allclose(context[k], E @ h_ctx, atol=1e-3)
            assert float(retrieved.null[k]) == pytest.approx(float(p[None]), abs=1e-5)
            if top:
                held = [r for r in retrieved.rows[k].tolist() if r in used]  # free rows may pad a wide search
                assert held == kept
    assert float(retrieved.log_weights.exp().sum()) == pytest.approx(len(spans), rel=1e-5)


@given(
    st.integers(1, 40), st.integers(1, 50), st.integers(1, 17), st.integers(0, 10_000)
)  # rows, wanted, rows in a block
@settings(max_examples=40, deadline=None)
def test_blocked_search_is_exact(n, k, block, seed):
    generator = torch.Generator().manual_seed(seed)
    rows, queries = torch.randn(n, 6, generator=generator), torch.randn(5, 6, generator=generator)
    found = largest(queries, lambda q, i, j: q @ rows[i:j].T, n, k, block)
    expected = (queries @ rows.T).sort(descending=True).values[:, : min(k, n)]
    assert found.shape == expected.shape
    assert torch.allclose((queries @ rows.T).gather(1, found), expected, atol=1e-6)


def test_training_mode_attends_to_everything_and_evaluation_to_the_best(fae, batch):
    inputs = dict(input_ids=batch.input_ids, attention_mask=batch.attention_mask, mentions=batch.slots.spans)
    fae.net.train()
    assert fae.net(**inputs).memory_scores.shape[1] == len(fae.names.entities)
    fae.net.eval()
    out = fae.net(**inputs, asked=batch.slots.asked, tokens=batch.input_ids == fae.tokenizer.mask_token_id)
    assert out.memory_scores.shape[1] == 5 and out.retrieved.rows.shape[1] == 4
    assert out.logits.shape == (len(batch.targets), len(fae.tokenizer))
    assert out.answer_logits.shape == (len(batch.targets), len(fae.names.entities))
    assert out.entity_logits.shape == (len(batch.slots.spans), len(fae.names.entities))
    assert out.detection.shape == (*batch.input_ids.shape, 3)
    with pytest.raises(TypeError, match="train_fae"):
        fae.net(**inputs, labels=batch.input_ids)


def test_kept_activations_give_the_same_answers(fae, toy):
    """Fine-tuning a block above the entity memory runs from kept states; the memory below must not act twice."""
    from kmod.models.activations import activations

    examples = fae.examples(toy, "evidences")
    chosen = np.arange(10)
    batch = examples.collate(chosen)
    inputs = (batch.input_ids, batch.attention_mask, batch.slots)
    with torch.no_grad():
        whole = fae(*inputs)
        for block in (1, 2):
            kept = activations(fae, examples, block)
            logits = kept.logits(dict(fae.net.named_parameters()), chosen, batch)
            assert torch.allclose(logits, whole, atol=1e-5)


# ---------------------------------------------------------------- samples of large memories


def test_a_sample_of_everything_is_everything(fae, toy):
    batch = fae.examples(toy, "evidences").joined(fae.sentences(toy)).collate(np.arange(0, 80, 3))
    part = sample_memory(fae.net, batch.targets, batch.support[:, 1], 10**6, torch.Generator().manual_seed(0))
    full, right = step_losses(fae, batch)
    ours, ours_right = step_losses(fae, batch, sample=part)
    assert full.keys() == ours.keys() >= {"answer", "retrieval", "link_memory", "link_top", "detection"}
    for name in full:
        assert torch.allclose(full[name], ours[name], atol=1e-5), name
    assert all(torch.equal(right[name], ours_right[name]) for name in right)


def test_a_sample_has_what_it_needs_and_a_sparse_gradient(fae, toy):
    batch = fae.examples(toy, "evidences").collate(np.arange(3))
    needed = torch.cat([batch.linked, batch.targets])
    part = sample_memory(fae.net, needed, batch.support[:, 1], 2, torch.Generator().manual_seed(0))
    assert len(part.entities) < len(fae.names.entities) and len(part.rows) < len(fae.net.fact_memory.subjects)
    assert set(needed.tolist()) <= set(part.entities.tolist())
    assert set(batch.support[:, 1].tolist()) <= set(part.rows.tolist())
    assert torch.equal(part.entities[part.local(needed)], needed)
    losses, _ = step_losses(fae, batch, sample=part)
    sum(losses.values()).backward()
    gradient = fae.net.entity_embeddings.weight.grad
    assert gradient.is_sparse and set(gradient._indices()[0].tolist()) <= set(part.entities.tolist())


def test_sampled_entities_count_for_those_left_out(fae):
    """The partition function over a sample is right on average."""
    h = torch.randn(16, generator=torch.Generator().manual_seed(3)) * 0.3
    scores = fae.net.entity_embeddings.weight.detach() @ h
    generator, none = torch.Generator().manual_seed(0), torch.zeros(0, dtype=torch.long)
    fae.set_facts([])  # else the tails of sampled rows would be needed
    sums = []
    for _ in range(2000):
        part = sample_memory(fae.net, torch.tensor([2, 7]), none, 4, generator)
        sums.append(float((scores[part.entities] + part.entity_weight).exp().sum()))
    assert np.mean(sums) == pytest.approx(float(scores.exp().sum()), rel=0.05)


# ---------------------------------------------------------------- mentions


def test_the_tokens_of_a_mention_are_its_name(fae, toy):
    """Of every statement: the mask is one mention, the subject's tokens read as its name, and the tags say so."""
    normal = kmod.facts.normal
    for examples, kind in ((fae.examples(toy, "evidences"), "asked"), (fae.sentences(toy), "whole")):
        batch = examples.collate(np.arange(len(examples)))
        tags = bio(batch.attention_mask, batch.slots.spans)
        assert (tags[batch.attention_mask == 0] == -100).all()
        for (row, first, last), entity in zip(batch.slots.spans.tolist(), batch.linked.tolist(), strict=True):
            ids = batch.input_ids[row, first : last + 1].tolist()
            assert tags[row, first] == 1 and (tags[row, first + 1 : last + 1] == 2).all()
            if ids == [fae.tokenizer.mask_token_id]:
                assert kind == "asked"
            else:
                assert fae.tokenizer.decode(ids) == normal(fae.names.entities[entity])
        assert int((tags > 0).sum()) == int((batch.slots.spans[:, 2] - batch.slots.spans[:, 1] + 1).sum())
        if kind == "asked":
            assert torch.equal(batch.linked[batch.slots.asked], batch.targets)
            assert (batch.rows == torch.arange(len(examples))).all()
            facts = fae.net.fact_memory
            for k, row in batch.support.tolist():
                fact = toy[int(examples.owner[k])]
                assert fae.names.entities[facts.subjects[row]] == fact.subject
                assert fae.names.entity(fact.object) in facts.tails[row]
            assert set(batch.support[:, 0].tolist()) == set(range(len(examples)))
        else:
            assert len(batch.targets) == 0 and len(batch.slots.asked) == 0


@given(st.permutations(range(40)), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_a_batch_is_its_statements(order, size):
    """Batched in any order with others, a statement has the mentions it has alone."""
    facts = toy_facts()
    names = Names.of(facts)
    texts = [
        masked_statement(t, f.subject, names.entity(f.subject), names.entity(f.object), (i,))
        if i % 3
        else whole_statement(t, f.subject, names.entity(f.subject), f.object, names.entity(f.object))
        for i, f in enumerate(facts)
        for t in facts.evidences(f)
    ]
    examples = encode_mentions(tokenizer_of(facts), texts, range(len(texts)), 64)
    chosen = np.array(order[:size])
    batch = examples.collate(chosen)
    asked = 0
    for b, i in enumerate(chosen.tolist()):
        alone = examples.collate(np.array([i]))
        mine = batch.slots.spans[:, 0] == b
        assert torch.equal(batch.slots.spans[mine][:, 1:], alone.slots.spans[:, 1:])
        assert torch.equal(batch.linked[mine], alone.linked)
        if len(alone.slots.asked):
            at = batch.slots.asked[asked]
            assert batch.slots.spans[at].tolist() == [b, *alone.slots.spans[alone.slots.asked[0], 1:].tolist()]
            assert batch.targets[asked] == alone.targets[0] and batch.rows[asked] == b
            assert batch.support[batch.support[:, 0] == asked][:, 1].tolist() == alone.support[:, 1].tolist()
            asked += 1
    assert asked == len(batch.targets) == len(batch.slots.asked)


_TOKENIZERS = {}


def tokenizer_of(facts):
    if facts.name not in _TOKENIZERS:
        _TOKENIZERS[facts.name] = tiny_bert(facts).tokenizer
    return _TOKENIZERS[facts.name]


@pytest.mark.parametrize(
    "text, name, expected",
    [
        ("Iranian and Iran's [MASK].", "Iran", (12, 16)),
        ("The [MASK] of the mask.", "Mask", (18, 22)),
        ("[MASK] is here.", "mask", None),
        ("C++ is [MASK].", "c++", (0, 3)),
        ("Nothing of [MASK].", "Peru", None),
        ("Nothing of [MASK].", " ", None),
    ],
)
def test_a_name_is_found_as_whole_words_outside_the_mask(text, name, expected):
    assert place(text, name) == expected


def test_a_statement_with_its_object_in_place_keeps_its_mentions():
    for text in ("[MASK] holds Esk.", "Esk lies in [MASK]."):
        whole = whole_statement(text, "Esk", 5, "Upper Tam", 1)
        assert {(whole.text[a:b], e) for a, b, e in whole.mentions} == {("Esk", 5), ("Upper Tam", 1)}
        assert whole.asked == -1 and "[MASK]" not in whole.text


def test_distant_supervision_needs_the_subject():
    assert masked_statement("It lies in [MASK].", "Esk", 5, 1, (3,)).rows == ()
    assert masked_statement("Esk lies in [MASK].", "Esk", 5, 1, (3,)).rows == (3,)


def test_wrong_statements_are_refused_by_name(fae, toy):
    tokenizer = fae.tokenizer
    with pytest.raises(ValueError, match="more than this model's 4"):
        encode_mentions(tokenizer, [Statement("Esk lies in [MASK].", ((12, 18, 1),), 1)], [0], 4)
    with pytest.raises(ValueError, match="no token of its own"):
        encode_mentions(tokenizer, [Statement("Esk lies.", ((0, 3, 1), (1, 2, 1)))], [0], 64)
    with pytest.raises(ValueError, match="exactly once"):
        fae.answers(["Esk lies in no land."])
    with pytest.raises(ValueError, match="'Atlantis' is not among"):
        fae.examples(toy, "tests", [Fact("Esk", "P17", "Atlantis")])


def test_a_statement_longer_than_the_model_is_refused_before_it_is_read(fae):
    fits = f"{'in ' * 57}Esk lies in [MASK]."
    assert fae.examples(FactBase([Fact("Esk", "P17", "Quor", (fits,), ("[MASK]",))]), "evidences").lengths == [
        fae.limit
    ]
    assert len(fae.detect([fits])) == 1
    for ask in (fae.detect, fae.read, fae.answers, lambda statements: kmod.explain(fae, statements[-1])):
        with pytest.raises(ValueError, match=r"^65 tokens are more than this model's 64: 'in in .*\[MASK\]\.'$"):
            ask(["Esk lies in [MASK].", f"in {fits}"])


def test_saves_and_loads_as_a_hugging_face_model(fae, toy, tmp_path):
    from transformers import AutoModelForMaskedLM

    fae.save(tmp_path / "fae")
    assert not [p.name for p in (tmp_path / "fae").iterdir() if p.suffix not in (".json", ".safetensors", ".txt")]
    again = kmod.load_model(tmp_path / "fae", device="cpu")
    assert type(again) is kmod.FaE and again.fingerprint() == fae.fingerprint()
    examples = fae.examples(toy, "tests")
    assert torch.equal(fae.correct(examples), again.correct(again.examples(toy, "tests")))
    assert type(kmod.load_model("fae-nano", toy, device="cpu")) is kmod.FaE
    net = AutoModelForMaskedLM.from_pretrained(tmp_path / "fae")
    assert type(net) is FaEForMaskedLM
    assert all(torch.equal(t, net.state_dict()[name]) for name, t in fae.net.state_dict().items())
    with pytest.raises(OSError, match="holds no FaE"):
        kmod.FaE.load(tmp_path)


def test_score_is_the_argmax_over_the_entities(fae, toy):
    examples = fae.examples(toy, "tests")
    expected = []
    for i in range(len(examples)):
        one = examples.collate(np.array([i]))
        out = fae.net(one.input_ids, one.attention_mask, one.slots.spans, one.slots.asked)
        expected.append(bool(out.answer_logits.argmax() == one.targets[0]))
    assert fae.correct(examples).tolist() == expected
    some = [3, 0, 20]
    assert fae.correct(fae.examples(toy, "tests", only=some)).tolist() == [expected[i] for i in some]
    bert = tiny_bert(toy)
    ids = [bert.examples(toy, "tests").collate(np.array([i])).input_ids.tolist() for i in some]
    assert [bert.examples(toy, "tests", only=[i]).collate(np.array([0])).input_ids.tolist() for i in some] == ids
    assert kmod.score(fae, toy).asked["tests"].sum() == len(examples) == 24


def test_parameters_can_stand_in_for_others(fae, batch):
    """`functional_call`, on which all editing rests, reaches the shared entity embeddings wherever they are used."""
    weights = {f"net.{name}": p.detach().clone() for name, p in fae.net.named_parameters()}
    weights["net.entity_embeddings.weight"] *= 0
    inputs = (batch.input_ids, batch.attention_mask, batch.slots)
    other = copy.deepcopy(fae)
    with torch.no_grad():
        other.net.entity_embeddings.weight.zero_()
        assert torch.equal(functional_call(fae, weights, inputs), other(*inputs))


@pytest.mark.parametrize("norm", [0.5, 5.0])
def test_entities_start_at_the_norm_that_is_asked_for(toy, norm):
    net = build_fae(tiny_bert(toy), toy, entity_size=64, entity_norm=norm).net
    for table in (net.entity_embeddings, net.fact_memory.relation_embeddings):
        assert float(table.weight.detach().norm(dim=1).mean()) == pytest.approx(norm, rel=0.2)
    spans = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    assert 0.7 < float((net.linking(spans) @ net.entity_embeddings.weight.T).detach().std()) < 1.4


def test_names_are_told_apart_without_case_and_unknown_ones_refused():
    names = Names(("Paris", "Rome"), ("P36",))
    assert names.entity(" paris ") == 0 and names.find("Oslo") == -1
    with pytest.raises(ValueError, match=r"'Pariss' is not among the 2 entities.*did you mean 'Paris'"):
        names.entity("Pariss")
    with pytest.raises(ValueError, match="'P17' is not in this model's table; known: P36"):
        names.relation("P17")
    with pytest.raises(ValueError, match="1 entity names repeat"):
        Names(("Paris", "PARIS"), ("P36",))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="memory_after must leave a block on either side: 1 to 3"):
        FaEConfig(num_hidden_layers=4, memory_after=4)
    with pytest.raises(ValueError, match="fact_top must be a whole number from 1"):
        FaEConfig(fact_top=0)
    with pytest.raises(ValueError, match="entity_norm must be above 0"):
        FaEConfig(entity_norm=0.0)
    assert FaEConfig(entities=np.int64(3), entity_norm=np.float32(2)).to_json_string()  # NumPy's numbers are Python's
    with pytest.raises(ValueError, match="no preset 'huge' of FaE; known: nano, mini, base"):
        build_fae("huge", toy_facts())
    described = build_fae.__doc__.split("start:")[1].split("(")[0]
    assert {name for name in kmod.models.PRESETS if name in described} == set(ENTITY_SIZE)
    with pytest.raises(TypeError, match="starts from a BertForMaskedLM"):
        FaEForMaskedLM.from_bert(torch.nn.Linear(1, 1))
    assert FaEConfig().memory_after == 4 and FaEConfig().entity_size == 256
    with pytest.raises(ValueError, match="the weight of tokens must be a number, zero or more"):
        Losses(tokens=-1)


def test_rows_read_back_as_they_were_written(toy):
    names = Names.of(toy)
    rows = Rows.empty(names, 30, 4)
    for fact in toy:
        rows.add(fact.subject, fact.relation, fact.object)
    again = Rows(names, rows.subjects, rows.relations, rows.tails)
    assert again.at == rows.at and again.used == rows.used == len(toy)
    assert all(names.entity(f.object) in again.tails[again.find(f.subject, f.relation)] for f in toy)
