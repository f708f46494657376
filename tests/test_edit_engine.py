"""The model of the page (book/_static/edit) against PyTorch and the tokeniser, in a browser, from a file."""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import kmod
from kmod.lab.trial import try_edit
from kmod.models.language_model import evaluating

ROOT = Path(__file__).parents[1]
EDIT = ROOT / "book" / "_static" / "edit"
sys.path.append(str(ROOT / "book" / "_ext"))

import assemble  # noqa: E402
import page_model  # noqa: E402

SCRIPTS = ("kernel", "bert", "tokenizer", "facts", "file", "worker")
START = """
const kernel = kmodEdit.kernel(), engine = kmodEdit.bert(kernel), facts = kmodEdit.facts(), data = kmodEdit.data;
const tokenizer = new (kmodEdit.tokenizer().Tokenizer)(data.vocabulary);
const model = new engine.Bert({ config: data.config, tensors: facts.weights(data) });
const statements = (kind, chosen) => data.facts.flatMap((fact, i) => !chosen || chosen.includes(i)
  ? facts.statements(data, fact, kind).map((s) => tokenizer.layOut(s, fact[2])) : []);
const text = (array) => { let s = ""; for (const b of new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
  s += String.fromCharCode(b); return btoa(s); };
"""


def test_the_bytes_of_the_kernel_are_those_of_its_source():
    assert assemble.inlined(assemble.SOURCE.read_text("utf-8")) in assemble.TARGET.read_text("utf-8")


def test_facts_with_statements_of_their_own_are_refused(model):
    fact = kmod.Fact("Peru", "P36", "Lima", evidences=("Peru is ruled from [MASK].",), tests=("[MASK] rules Peru.",))
    with pytest.raises(ValueError, match="phrasings"):
        page_model.page_data(model, kmod.FactBase([fact], {}, "own"))


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """A page with the engine and nano-atlas in it, opened from a file."""
    folder = tmp_path_factory.mktemp("edit")
    page_model.write(folder / "data.js")
    scripts = [folder / "data.js", *(EDIT / f"{name}.js" for name in SCRIPTS)]
    tags = "".join(f'<script src="{script.as_uri()}"></script>' for script in scripts)
    (folder / "page.html").write_text(f'<!doctype html><meta charset="utf8">{tags}<script>{START}</script>', "utf8")
    page, faults = browser.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((folder / "page.html").as_uri())
    assert not faults, faults
    yield page
    page.close()


@pytest.fixture(scope="module")
def half():
    """The model that the page has: nano-atlas, rounded to float16."""
    return kmod.load_model("nano-atlas-half", device="cpu")


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


@pytest.mark.book
@pytest.mark.parametrize("kind", ["evidences", "tests"])
def test_statements_are_tokenised_as_by_hugging_face(page, half, atlas, kind):
    found = page.evaluate(f"statements({json.dumps(kind)}).map((s) => [s.ids, s.targets])")
    examples = half.examples(atlas, kind)
    ids = np.split(examples.ids, examples.starts[1:-1])
    targets = np.split(examples.targets, examples.target_starts[1:-1])
    assert found == [[a.tolist(), b.tolist()] for a, b in zip(ids, targets, strict=True)]


@pytest.mark.book
def test_text_of_every_kind_is_tokenised_as_by_hugging_face(page, half):
    texts = [
        "Café Zoë's ÅNGSTRÖM, (naïve)!",
        "東京 is\tTokyo\u200b\n now",
        "x" * 101,
        "a-b_c $5 … “quoted”",
        "İstanbul Łódź ß",
    ]
    theirs = [half.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    assert page.evaluate("(texts) => texts.map((t) => tokenizer.pieces(t))", texts) == theirs
    assert page.evaluate("(ids) => ids.map((i) => tokenizer.text(i))", theirs) == [half.text_of(i) for i in theirs]


@pytest.mark.book
@pytest.mark.parametrize("lowest", [0, 3])
def test_logits_are_those_of_transformers(page, half, atlas, lowest):
    chosen = [0, 500, 1000, 2000]
    ours = page.evaluate(
        "([chosen, lowest]) => { const batch = engine.collate(statements('tests', chosen), tokenizer.mask);"
        "return model.logits(batch, lowest).map(text); }",
        [chosen, lowest],
    )
    examples = half.examples(atlas, "tests", [atlas[i] for i in chosen])
    batch = examples.collate(np.arange(len(examples)))
    with torch.no_grad(), evaluating(half):
        theirs = half(batch.input_ids, batch.attention_mask, batch.slots).numpy()
    np.testing.assert_allclose([floats(row) for row in ours], theirs, atol=1e-4)


@pytest.mark.book
@pytest.mark.parametrize("blocks", [[3], [0, 1, 2, 3], [1, 2]])
def test_gradients_are_those_of_pytorch(page, half, atlas, blocks):
    chosen = [3, 700]
    loss, ours = page.evaluate(
        """([chosen, blocks]) => {
          const batch = engine.collate(statements("evidences", chosen), tokenizer.mask), lowest = Math.min(...blocks);
          const { loss, gradients } = model.gradients(batch, blocks, lowest, model.entering(batch, lowest));
          return [loss, Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, text(g)]))];
        }""",
        [chosen, blocks],
    )
    examples = half.examples(atlas, "evidences", [atlas[i] for i in chosen])
    batch = examples.collate(np.arange(len(examples)))
    with evaluating(half):
        theirs = cross_entropy(half(batch.input_ids, batch.attention_mask, batch.slots), batch.targets)
    names = [name for name, _ in half.net.named_parameters() if any(f"layer.{n}." in name for n in blocks)]
    slopes = torch.autograd.grad(theirs, [half.net.get_parameter(name) for name in names])
    assert loss == pytest.approx(theirs.item(), rel=1e-4)
    assert sorted(ours) == sorted(names)
    for name, slope in zip(names, slopes, strict=True):  # the page keeps weights as (in, out)
        slope = (slope.T if slope.ndim == 2 else slope).numpy()
        mine = floats(ours[name]).reshape(slope.shape)
        assert np.linalg.norm(mine - slope) <= 1e-3 * np.linalg.norm(slope) + 1e-7, name


@pytest.mark.book
@pytest.mark.parametrize(("blocks", "delta"), [([3], 4e-3), ([0, 1, 2, 3], None)])
def test_an_edit_is_that_of_finetune_and_is_undone_to_the_bit(page, half, atlas, blocks, delta):
    (index,) = atlas.modify_to([("France", "P36", "Rome")]).indices
    losses, recalls, ours, ids, same = page.evaluate(
        """([index, blocks, delta]) => {
          const asked = facts.statements(data, data.facts[index], "evidences").map((s) => tokenizer.layOut(s, "Rome"));
          const tests = engine.collate(statements("tests", [index]), tokenizer.mask);
          const before = model.blocks.map((_, n) => Object.values(model.parameters(n)).map(text)).flat();
          const training = new engine.Finetuning(
            model, engine.collate(asked, tokenizer.mask), { blocks, delta: delta ?? Infinity });
          const seen = Array.from({ length: 25 }, () => training.step());
          const logits = model.logits(tests);
          const names = Object.keys(training.parameters);
          const weights = Object.fromEntries(names.map((name) => [name, text(model.written(name))]));
          training.undo();
          const after = model.blocks.map((_, n) => Object.values(model.parameters(n)).map(text)).flat();
          return [seen.map((s) => s.loss), seen.map((s) => s.recall), weights, logits.map(engine.argmax),
            after.every((a, i) => a === before[i])];
        }""",
        [int(index), blocks, delta],
    )
    change = atlas.modify_to([("France", "P36", "Rome")])
    constraint = kmod.Linf(delta) if delta else None
    edit = kmod.finetune(half, change, block=blocks, steps=25, batch_size=64, constraint=constraint)
    theirs = edit.difference(half)
    assert same, "undo left other weights"
    assert losses[0] > 1 and losses[-1] < 0.3 * losses[0]
    assert recalls[-1] == 1
    assert sorted(ours) == sorted(theirs)
    for name, moved in theirs.items():
        origin = half.net.get_parameter(name).detach().numpy()
        mine = floats(ours[name]).reshape(origin.shape) - origin
        assert delta is None or np.abs(mine).max() <= delta * (1 + 1e-3)
        if name.endswith("key.bias"):  # has no effect, so that Adam follows what rounding leaves of its slope
            continue
        assert np.linalg.norm(mine - moved.numpy()) <= 0.05 * np.linalg.norm(moved.numpy()), name
    tests = half.examples(atlas, "tests", [atlas[int(index)]])
    batch = tests.collate(np.arange(len(tests)))
    with edit(half), torch.no_grad(), evaluating(half):
        answers = half(batch.input_ids, batch.attention_mask, batch.slots).argmax(-1)
    assert ids == answers.tolist()


@pytest.mark.book
def test_workers_edit_ask_every_test_again_and_undo(page, half, atlas):
    """Two workers, from a file: what breaks is what breaks with `finetune`, but for facts on the edge."""
    found = page.evaluate(
        """async () => {
          const session = new (kmodEdit.session().Session)(data, 2), steps = [], shares = [];
          await session.start();
          const last = session.depth - 1, fact = data.facts.findIndex((f) => f[0] === "France" && f[1] === "P36");
          const asked = facts.statements(data, data.facts[fact], "evidences");
          const tests = facts.statements(data, data.facts[fact], "tests");
          const before = await session.ask(last, (share) => shares.push(share));
          const was = await session.answers(tests, "Rome");
          await session.edit(asked, "Rome", { blocks: [last], delta: 4e-3 }, (step) => steps.push(step));
          const now = await session.answers(tests, "Rome"), after = await session.ask(last);
          await session.edit(asked, "Berlin", { blocks: [0, last] }, () => {});
          const second = await session.answers(tests, "Berlin");
          await session.undo();
          const again = await session.ask(last);
          await session.undo();
          const undone = await session.ask(0), first = await session.answers(tests, "Rome");
          session.stop();
          return { fact, before, after, again, undone, was, now, first, second, steps, shares };
        }"""
    )
    trial = try_edit(half, atlas, "France", "P36", "Rome", delta=4e-3)
    examples = half.examples(atlas, "tests")
    wrong = examples.owner[~half.correct(examples).numpy()]
    known = ~np.isin(np.arange(len(atlas)), wrong)
    broken = {i for i, (b, a) in enumerate(zip(found["before"], found["after"], strict=True)) if b and not a}
    position = {fact: i for i, fact in enumerate(atlas)}
    expected = {position[fact] for fact, _ in trial.broken}
    assert (np.array(found["before"]) != known).sum() <= 2  # an answer on the edge between two objects
    assert len((broken - {found["fact"]}) ^ expected) <= 2
    assert [text for text, _ in found["was"]] == ["paris", "paris"] and [text for text, _ in found["now"]] == [
        "rome"
    ] * 2
    assert [text for text, _ in found["second"]] == ["berlin"] * 2
    assert found["again"] == found["after"] and found["undone"] == found["before"] and found["first"] == found["was"]
    assert len(found["steps"]) == 25 and found["steps"][-1]["recall"] == 1 and found["shares"][-1] == 1


@pytest.mark.book
def test_a_worker_refuses_what_cannot_be_written(page):
    with pytest.raises(Exception, match="no letters for"):
        page.evaluate(
            """async () => {
              const session = new (kmodEdit.session().Session)({ ...data, facts: [] }, 1);
              await session.start();
              try { await session.edit(["Peru is [MASK]."], "東", { blocks: [3] }); } finally { session.stop(); }
            }"""
        )
