"""Pretraining: what a step reads, exact continuation, the same result however a batch is split, what is refused."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM, BertModel

import kmod
from kmod.models import MaskedLM
from kmod.models.presets import build_net
from kmod.models.vocabulary import build_tokenizer, read_tokenizer, train_tokenizer
from kmod.pretraining.packed import MASKED, PackedText
from kmod.pretraining.pretrain import CHECKPOINT, pretrain
from kmod.pretraining.text import documents, read_text, with_facts, without
from kmod.pretraining.vectors import warm_start, word_vectors
from kmod.progress import noted_signals

pytest.importorskip("accelerate")
TINY = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
FAST = dict(steps=120, batch_size=8, length=16, lr=3e-3, held_out=8, progress=False, checkpoint_minutes=1e-6)
LONG = FAST | {"steps": 200}


@pytest.fixture(scope="module")
def tokenizer(facts):
    return build_tokenizer(facts)


@pytest.fixture(scope="module")
def tokens(facts, tokenizer):
    text = [s.replace("[MASK]", f.object) for f in facts for s in facts.evidences(f)]
    ids = [token for line in tokenizer(text, add_special_tokens=False)["input_ids"] for token in [*line, 3]]
    return np.array(ids, dtype=np.uint16)


def tiny(tokenizer) -> MaskedLM:
    torch.manual_seed(0)
    return MaskedLM(BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **TINY)), tokenizer)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), batch_size=st.integers(1, 7), length=st.integers(8, 40), step=st.integers(0, 200))
def test_a_step_reads_the_same_whole_sequences_every_time(tokenizer, tokens, seed, batch_size, length, step):
    text = PackedText(tokens, tokenizer, length, batch_size, 4, seed)
    ids, columns, targets = text.batch(step)
    again = PackedText(tokens, tokenizer, length, batch_size, 4, seed).batch(step)
    assert all((a == b).all() for a, b in zip((ids, columns, targets), again, strict=True))
    assert columns.shape == targets.shape == (batch_size, max(1, round(MASKED * (length - 2))))
    whole = ids.copy()
    np.put_along_axis(whole, columns, targets, axis=1)
    inner = tokens[: len(tokens) // (length - 2) * (length - 2)].reshape(-1, length - 2)
    assert (whole[:, 0] == tokenizer.cls_token_id).all() and (whole[:, -1] == tokenizer.sep_token_id).all()
    of_training = {row.tobytes() for row in inner[:-4].astype(np.int64)}
    assert all(row.tobytes() in of_training for row in whole[:, 1:-1])


def test_a_pass_reads_every_sequence_once_and_masks_as_bert_does(tokenizer, tokens):
    text = PackedText(tokens, tokenizer, 32, 10, 5, 0)
    steps = [text.batch(step) for step in range(text.n)]  # ten passes
    rows = []
    for ids, columns, targets in steps:
        np.put_along_axis(ids.copy(), columns, targets, axis=1)
        whole = ids.copy()
        np.put_along_axis(whole, columns, targets, axis=1)
        rows += [row.tobytes() for row in whole]
    first = sorted(rows[: text.n])
    assert first == sorted(rows[text.n : 2 * text.n]) and rows[: text.n] != rows[text.n : 2 * text.n]
    shown = np.concatenate([np.take_along_axis(i, c, axis=1).ravel() for i, c, _ in steps])
    targets = np.concatenate([t.ravel() for *_, t in steps])
    assert abs((shown == tokenizer.mask_token_id).mean() - 0.8) < 0.02
    assert abs((shown == targets).mean() - 0.1) < 0.02
    assert not np.isin(targets, tokenizer.all_special_ids).any()


def test_pretraining_learns_and_writes_what_transformers_loads(tokenizer, tokens, tmp_path):
    model = tiny(tokenizer)
    report = pretrain(model, tokens, tmp_path, **FAST)
    curve = json.loads((tmp_path / "pretraining.json").read_text())["curve"]
    assert report.finished and len(curve) == report.steps == 120
    assert np.mean(curve[-20:]) < np.mean(curve[:20]) - 1
    assert report.validation_loss < curve[0] and 0 < report.utilisation < 1.5 and "tokens a second" in str(report)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert all(torch.equal(p, dict(loaded.named_parameters())[n]) for n, p in model.net.named_parameters())


def test_accumulating_gives_the_same_result(tokenizer, tokens, tmp_path):
    one, four = tiny(tokenizer), tiny(tokenizer)
    settings = FAST | {"steps": 20}
    pretrain(one, tokens, tmp_path / "1", **settings)
    pretrain(four, tokens, tmp_path / "4", **settings, accumulate=4)
    for p, q in zip(one.net.parameters(), four.net.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=2e-4, rtol=0)


SCRIPT = """
import sys, numpy as np, torch
torch.set_num_threads(1)
from transformers import BertConfig, BertForMaskedLM
from kmod.models import MaskedLM
from kmod.models.vocabulary import read_tokenizer
from kmod.pretraining.pretrain import pretrain
folder, out = sys.argv[1:]
tokenizer = read_tokenizer(folder)
torch.manual_seed(0)
model = MaskedLM(BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **{tiny})), tokenizer)
pretrain(model, np.load(folder + "/tokens.npy"), out, **{fast})
"""


@pytest.fixture
def script(tokenizer, tokens, tmp_path):
    tokenizer.save_pretrained(tmp_path / "in")
    np.save(tmp_path / "in" / "tokens.npy", tokens)
    path = tmp_path / "run.py"
    path.write_text(SCRIPT.replace("{tiny}", repr(TINY)).replace("{fast}", repr(LONG)))
    return path


def curve_of(folder):
    return json.loads((folder / "pretraining.json").read_text())["curve"]


def test_killed_and_started_again_it_gives_the_curve_of_an_unbroken_run(script, tokenizer, tokens, tmp_path):
    broken = tmp_path / "broken"
    process = subprocess.Popen([sys.executable, script, tmp_path / "in", broken], stderr=subprocess.PIPE)
    wait_for(broken / "checkpoint.safetensors")
    process.kill()
    assert process.wait(60) == -signal.SIGKILL and not (broken / "pretraining.json").exists()
    assert [path.name for path in broken.glob("*.safetensors")] == ["checkpoint.safetensors"]
    pretrain(tiny(tokenizer), tokens, broken, **LONG)
    pretrain(tiny(tokenizer), tokens, tmp_path / "unbroken", **LONG)
    assert len(curve_of(broken)) == LONG["steps"]
    np.testing.assert_allclose(curve_of(broken), curve_of(tmp_path / "unbroken"), atol=2e-4)


def test_interrupted_the_step_under_way_is_kept(tokenizer, tokens, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=lambda: (wait_for(tmp_path / CHECKPOINT), os.kill(os.getpid(), signal.SIGINT))).start()
    with pytest.raises(KeyboardInterrupt, match="goes on from there"):
        pretrain(tiny(tokenizer), tokens, tmp_path, **LONG)
    assert signal.getsignal(signal.SIGINT) is before
    report = pretrain(tiny(tokenizer), tokens, tmp_path, **LONG)
    assert report.finished and len(curve_of(tmp_path)) == LONG["steps"]


def test_signals_are_noted_until_one_comes_again():
    """A launcher of several processes sends both kinds to each."""
    with noted_signals() as signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert signals == [signal.SIGTERM, signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def wait_for(path):
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.005)


def test_two_processes_give_the_curve_of_one(script, tokenizer, tokens, tmp_path):
    pretrain(tiny(tokenizer), tokens, tmp_path / "one", **LONG)
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
    launch = [sys.executable, *launch.split(), "--dynamo_backend", "no", "--main_process_port", "0"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    subprocess.run([*launch, script, tmp_path / "in", tmp_path / "two"], check=True, timeout=240, env=environment)
    two = json.loads((tmp_path / "two" / "pretraining.json").read_text())
    assert two["settings"]["processes"] == 2
    np.testing.assert_allclose(two["curve"][:100], curve_of(tmp_path / "one")[:100], atol=2e-3)


def test_out_of_time_it_stops_and_goes_on(tokenizer, tokens, tmp_path):
    report = pretrain(tiny(tokenizer), tokens, tmp_path, **FAST | {"steps": 300}, minutes=1e-4)
    assert not report.finished and report.steps == 50 and "run the same again" in str(report)
    model = tiny(tokenizer)
    assert pretrain(model, tokens, tmp_path, **FAST | {"steps": 300}).finished


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"lr": 0}, "lr must be a number above 0"),
        ({"batch_size": True}, "batch_size must be"),
        ({"length": 1000}, "length must be from 8 to 512"),
        ({"batch_size": 8, "accumulate": 3}, "multiple of accumulate"),
        ({"held_out": 10_000}, "too few"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(tokenizer, tokens, tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        pretrain(tiny(tokenizer), tokens, tmp_path / "out", **FAST | wrong)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_other_settings_or_another_model_is_refused(tokenizer, tokens, tmp_path):
    pretrain(tiny(tokenizer), tokens, tmp_path, **FAST)
    with pytest.raises(ValueError, match=r"lr was 0.003, is 0.001"):
        pretrain(tiny(tokenizer), tokens, tmp_path, **FAST | {"lr": 1e-3})
    other = MaskedLM(BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **TINY | {"hidden_size": 32})), tokenizer)
    with pytest.raises(ValueError, match="of another model"):
        pretrain(other, tokens, tmp_path, **FAST)
    for old in (b"damaged", save({"curve": torch.zeros(1)}, {"pretraining": "{}"})):
        (tmp_path / CHECKPOINT).write_bytes(old)
        with pytest.raises(ValueError, match=r"^[^\n]* is damaged, or of an older kmod: choose another folder"):
            pretrain(tiny(tokenizer), tokens, tmp_path, **FAST)


def test_documents_of_every_ending(tmp_path):
    (tmp_path / "a.txt").write_text("one\nline two\n\n\nsecond\n", "utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write('{"text": "third"}\n{"text": "fourth"}\n')
    assert list(documents(tmp_path)) == ["one\nline two", "second", "third", "fourth"]
    assert list(documents(tmp_path / "*.txt")) == ["one\nline two", "second"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", b"fine\nna\xefve\n", r"a.txt, line 2: byte 0xef is not UTF-8"),
        ("a.jsonl", b'{"text": "fine"}\n{"body": "no"}\n', r"a.jsonl, line 2: no 'text'; found: body"),
        ("a.jsonl", b'{"text": "fi', r"a.jsonl, line 1: not JSON"),
        ("a.doc", b"fine", r"a.doc: not a text that can be read"),
    ],
)
def test_text_that_cannot_be_read_is_named_with_its_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(documents(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="no text at"):
        list(documents(tmp_path / "nothing"))


def test_facts_are_kept_out_or_put_in_at_the_rate_asked_for(facts):
    subject = facts[0].subject
    texts = [f"We speak of {subject.upper()}, here.\nNothing of it there.", f"Un{subject}ed", subject]
    assert list(without(texts, facts)) == ["Nothing of it there.", f"Un{subject}ed"]
    out = list(with_facts(["filler"] * 100, facts, times=3))
    assert out.count("filler") == 100
    said = " ".join(line for line in out if line != "filler")
    for fact in facts[:20]:
        filled = [s.replace("[MASK]", fact.object) for s in facts.evidences(fact)]
        assert sum(said.count(s) for s in filled) >= 3
    assert out == list(with_facts(["filler"] * 100, facts, times=3))


def test_text_is_read_once_and_anew_when_a_file_changes(facts, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(s.replace("[MASK]", f.object) for f in facts for s in facts.evidences(f)), "utf-8")
    tokenizer, tokens = read_text(text, tmp_path / "out", vocab_size=300, words_of=facts, progress=False)
    assert (tokens == tokenizer.sep_token_id).sum() == sum(len(facts.evidences(f)) for f in facts)
    again, same = read_text(text, tmp_path / "out", progress=False)
    assert again.get_vocab() == tokenizer.get_vocab() and same.filename == tokens.filename
    text.write_text("another text", "utf-8")
    assert len(read_text(text, tmp_path / "out", progress=False)[1]) < 20


def test_vocabularies(facts, tmp_path):
    texts = [s.replace("[MASK]", f.object) for f in facts for s in facts.evidences(f)]
    trained = train_tokenizer(texts, 250, facts)
    assert len(trained) > 250
    word = next(f.object for f in facts if f.object.isascii() and f.object.isalpha())
    assert len(trained(word, add_special_tokens=False)["input_ids"]) == 1
    trained.save_pretrained(tmp_path)
    assert read_tokenizer(tmp_path).get_vocab() == trained.get_vocab()
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "word"]))
    with pytest.raises(ValueError, match=r"lacks \[CLS\]"):
        read_tokenizer(tmp_path / "vocab.txt")


def test_an_encoder_without_a_head_starts_only_when_asked(tokenizer, tokens, tmp_path):
    BertModel(BertConfig(vocab_size=len(tokenizer), **TINY)).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match="new_head=True"):
        kmod.load_model(tmp_path / "encoder")
    model = kmod.load_model(tmp_path / "encoder", new_head=True)
    same = kmod.load_model(tmp_path / "encoder", new_head=True)
    assert model.fingerprint() == same.fingerprint() != kmod.load_model(tmp_path / "encoder", new_head=True, seed=1)
    report = pretrain(model, tokens, tmp_path / "out", **FAST)
    assert report.finished and kmod.load_model(tmp_path / "out").fingerprint() == model.fingerprint()


def test_words_with_the_same_neighbours_get_the_same_direction(tokenizer):
    """Two words that take turns in the same place, among noise."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(20, len(tokenizer), 30_000)
    for at in range(0, len(tokens) - 2, 10):
        tokens[at : at + 3] = 10, rng.choice([11, 12]), 13
    vectors = torch.nn.functional.normalize(word_vectors(tokens, len(tokenizer), 16), dim=1)
    likeness = vectors @ vectors[11]
    assert sorted(likeness.topk(2).indices.tolist()) == [11, 12] and likeness[12] > 0.8
    assert not vectors[15].any()  # it does not occur
    assert torch.equal(vectors, torch.nn.functional.normalize(word_vectors(tokens, len(tokenizer), 16), dim=1))


def test_a_warm_start_keeps_the_scale_and_learns_faster(tokenizer, tokens, tmp_path):
    cold, warm = tiny(tokenizer), tiny(tokenizer)
    state = torch.random.get_rng_state()
    warm_start(warm, tokens)
    assert torch.equal(state, torch.random.get_rng_state())
    before, after = (m.net.get_input_embeddings().weight.norm(dim=1) for m in (cold, warm))
    torch.testing.assert_close(after[tokens[:50].astype(np.int64)], before.mean().expand(50), rtol=1e-4, atol=1e-5)
    curves = []
    for name, model in (("cold", cold), ("warm", warm)):
        pretrain(model, tokens, tmp_path / name, **FAST | {"steps": 50})
        curves.append(np.mean(curve_of(tmp_path / name)[-20:]))
    assert curves[1] < curves[0]
    with pytest.raises(ValueError, match="too few"):
        warm_start(warm, tokens[:10])


def test_after_a_warm_start_each_head_looks_at_a_neighbour_whatever_the_words(tokenizer, tokens):
    model = MaskedLM(build_net("nano", len(tokenizer), 0), tokenizer)
    warm_start(model, tokens)
    model.net.set_attn_implementation("eager")
    ids = torch.from_numpy(tokens[: 20 * 32].astype(np.int64)).view(20, 32)
    with torch.no_grad():
        seen = model.net.bert(ids, output_attentions=True).attentions[0].argmax(-1)  # (20, 2 heads, 32)
    inner = torch.arange(1, 31)
    for head, step in ((0, -1), (1, 1)):
        assert (seen[:, head, 1:31] == inner + step).float().mean() > 0.9


def test_a_warm_start_is_for_a_bert(tokenizer):
    model = tiny(tokenizer)
    model.net.config.model_type = "roberta"
    with pytest.raises(ValueError, match="not for roberta"):
        warm_start(model, np.zeros(1000, dtype=np.uint16))


def test_the_frequencies_alone_are_the_line_to_beat(tokenizer, tokens):
    text = PackedText(tokens, tokenizer, 32, 8, 16, 0)
    counts = np.bincount(tokens, minlength=len(tokenizer)) + 1
    chances = (counts / counts.sum())[text.validation()[2]]
    assert text.frequency_loss() == pytest.approx(float(np.mean([-np.log(p) for p in chances.ravel()])))


def test_the_command_pretrains_and_goes_on(facts, tmp_path, capsys):
    from kmod.cli import main

    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(s.replace("[MASK]", f.object) for f in facts for s in facts.evidences(f)), "utf-8")
    command = ["pretrain", "--model", "nano", "--text", str(text), "--vocab-size", "400", "--length", "16", "--steps"]
    command += ["10", "--batch-size", "4", "--warm-start", "--out", str(tmp_path / "out")]
    assert main(command) == 0 and "tokens a second" in capsys.readouterr().out
    assert kmod.load_model(tmp_path / "out").net.config.num_hidden_layers == 4
    assert main([*command[:-1], str(text)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_unfinished_training_of_other_contents_is_named(tmp_path):
    text, out = tmp_path / "text.txt", tmp_path / "out"
    text.write_text("One text.\n\nOf two lines.", "utf-8")
    read_text(text, out, vocab_size=60, progress=False)
    (out / CHECKPOINT).write_bytes(save({"x": torch.zeros(1)}, {"key": "no JSON"}))
    text.write_text("Another text of the same name.", "utf-8")
    with pytest.raises(ValueError, match="holds a training on another text: choose another folder") as error:
        read_text(text, out, vocab_size=60, progress=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damaged", [b"", b"x" * 100, save({"x": torch.zeros(1)}, {"key": "no JSON"})])
def test_a_damaged_checkpoint_is_named(damaged, tokenizer, tokens, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(damaged)
    with pytest.raises(ValueError, match="is damaged, or of an older kmod: choose another folder") as error:
        pretrain(tiny(tokenizer), tokens, tmp_path, **FAST)
    assert "\n" not in str(error.value)
