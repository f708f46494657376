"""A training that is interrupted goes on as if it had not been."""

import sys

import pytest
import torch

import kmod
from kmod import versions
from kmod.progress import watching
from kmod.training import checkpoint as checkpoints


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KMOD_CACHE", str(tmp_path))
    return tmp_path / "memorised"


@pytest.fixture
def often(monkeypatch):
    """A file after every step."""
    make = checkpoints.Checkpoint.__init__
    monkeypatch.setattr(checkpoints.Checkpoint, "__init__", lambda *args, **others: make(*args, minutes=0, **others))


FACTS = kmod.load_facts("bios:4")


def train(model=None, **settings):
    model = model or kmod.load_model("nano", FACTS)
    settings = {"epochs": 1, "least_steps": 40, "batch_size": 8, "progress": False} | settings
    report = kmod.memorise(model, FACTS, **settings)
    return model.fingerprint(), report


def interrupted(at, **settings):
    def fall(history):
        if history.steps == at:
            raise KeyboardInterrupt

    with watching(fall), pytest.raises(KeyboardInterrupt):
        train(**settings)


def test_interrupted_it_goes_on_to_the_same_weights(cache, often):
    whole, report = train(cache=False)
    for at in (7, 23):
        interrupted(at)
        (kept,) = cache.iterdir()
        assert kept.suffix == ".partial"
    again, same = train()
    assert again == whole and same.steps == report.steps
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def test_a_kill_loses_what_came_after_the_last_file_and_no_more(cache, often, monkeypatch):
    whole, _ = train(cache=False)
    write = checkpoints.Checkpoint.write
    monkeypatch.setattr(checkpoints.Checkpoint, "write", lambda self: self.history.steps <= 11 and write(self))
    interrupted(20)
    monkeypatch.undo()
    monkeypatch.setenv("KMOD_CACHE", str(cache.parent))
    seen = []
    with watching(lambda history: seen.append(history.steps)):
        again, _ = train()
    assert again == whole and seen[0] == 12


@pytest.mark.parametrize("where", ["the backward pass", "Adam", "after Adam"])
def test_interrupted_within_a_step_it_loses_that_step_at_most(cache, monkeypatch, where):
    whole, _ = train(cache=False)
    model, steps = kmod.load_model("nano", FACTS), []

    def interrupting(call):
        def called(*args, **others):
            if sys._getframe(1).f_globals["__name__"] == "kmod.models.proof":
                return call(*args, **others)  # no step: short cuts are proved before the first
            steps.append(1)
            if len(steps) == 12 and where != "after Adam":
                raise KeyboardInterrupt
            result = call(*args, **others)
            if len(steps) == 12:
                raise KeyboardInterrupt
            return result

        return called

    owner, name = (torch.autograd, "grad") if where == "the backward pass" else (torch.optim.Adam, "step")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupting(getattr(owner, name)))
        with pytest.raises(KeyboardInterrupt):
            train(model)
    seen = []
    with watching(lambda history: seen.append(history.steps)):
        assert train()[0] == whole
    assert seen[0] == (1 if where == "after Adam" else 12)  # a file was written but where Adam was ahead of the curve


def test_what_takes_longer_than_it_may_goes_on_with_the_next_call(cache, monkeypatch):
    whole, report = train(cache=False)
    with pytest.raises(TimeoutError, match=r"after 1 of at most .* run again to go on"):
        train(within=0.0)
    with pytest.raises(TimeoutError, match="after 2 of at most"):
        train(within=0.0)
    again, same = train(within=600)
    assert again == whole and same.steps == report.steps and train()[1].cached
    with pytest.raises(ValueError, match="within needs cache=True"):
        train(within=1.0, cache=False)


@pytest.fixture(scope="module")
def recalled():
    """Settings of a training that ends when all is recalled, the model that it makes, and its report."""
    enough = {"least_steps": 400}
    return enough, *train(cache=False, **enough)


@pytest.mark.parametrize("moment", ["last step", "scoring"])
def test_interrupted_at_the_end_it_stops_at_the_same_step(cache, often, monkeypatch, recalled, moment):
    """Whether all was recalled is asked again: in the last step, the interruption comes before the answer."""
    enough, whole, report = recalled
    assert report.stopped == "recalled"
    if moment == "last step":
        interrupted(report.steps, **enough)
    else:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            raising = lambda *args, **others: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
            patch.setitem(kmod.memorise.__globals__, "score", raising)
            train(**enough)
    assert list(cache.glob("*.partial"))
    again, same = train(**enough)
    assert again == whole and (same.steps, same.stopped) == (report.steps, "recalled")


def test_interrupted_in_the_first_step_it_starts_anew(cache, monkeypatch):
    whole, _ = train(cache=False)

    def half_made(self, *args):
        leaf = self.param_groups[0]["params"][0]
        self.state[leaf]["step"] = torch.tensor(0.0)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", half_made)
        with pytest.raises(KeyboardInterrupt):
            train()
    assert train()[0] == whole


@pytest.mark.parametrize("damage", ["torn", "of another training"])
def test_a_file_that_is_not_this_training_s_is_not_read(cache, damage):
    whole, _ = train(cache=False)
    with pytest.raises(TimeoutError):
        train(within=0.0)
    (kept,) = cache.iterdir()
    if damage == "torn":
        kept.write_bytes(kept.read_bytes()[:1000])
    else:
        with pytest.raises(TimeoutError):
            train(within=0.0, lr=1e-3)
        (other,) = (path for path in cache.iterdir() if path != kept)
        other.replace(kept)
    assert train()[0] == whole


def test_a_full_disk_is_warned_of_and_costs_nothing(cache, often, monkeypatch):
    whole, _ = train(cache=False)

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints, "save_whole", full)
    with pytest.warns(UserWarning, match="not kept on disk: No space left") as said:
        assert train()[0] == whole
    assert [str(warning.message).split(",")[0] for warning in said] == ["the training goes on", "trained"]


def test_frozen_parameters_make_another_training(cache):
    frozen, free = kmod.load_model("nano", FACTS), kmod.load_model("nano", FACTS)
    for p in frozen.net.bert.encoder.parameters():
        p.requires_grad_(False)
    first = frozen.net.bert.encoder.layer[0].output.dense.weight
    before, settings = first.clone(), {"epochs": 1, "least_steps": 3, "batch_size": 8, "progress": False}
    assert not kmod.memorise(frozen, FACTS, **settings).cached and torch.equal(first, before)
    assert not kmod.memorise(free, FACTS, **settings).cached and free.fingerprint() != frozen.fingerprint()
    assert len(list(cache.iterdir())) == 2


def test_other_code_makes_another_training_but_other_words_do_not(tmp_path, monkeypatch):
    def digest(code):
        (tmp_path / "training" / "loop.py").write_text(code)
        versions.code_digest.cache_clear()
        return versions.code_digest("training")

    (tmp_path / "training").mkdir()
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "versions.py"))
    plain = digest("def step(lr):\n    return 2 * lr\n")
    assert plain == digest('"""Words."""\n\n\ndef step(lr):\n    """More."""\n    return 2*lr  # and more\n')
    assert plain != digest("def step(lr):\n    return 3 * lr\n")
    versions.code_digest.cache_clear()


def test_the_digest_of_the_code_is_part_of_the_key(cache, monkeypatch):
    train(least_steps=2)
    assert train(least_steps=2)[1].cached
    monkeypatch.setattr(checkpoints, "code_digest", lambda *packages: f"another loop in {packages}")
    assert not train(least_steps=2)[1].cached


def test_what_another_processor_memorised_is_not_memorised_again(cache, monkeypatch):
    """Random weights differ in their last bits between processors; a copied cache serves all the same."""
    from kmod.models import loading

    weights = {}
    _, report = train()
    assert not report.cached

    def other_processor(*arguments, build=loading.build_net):
        net = build(*arguments)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(1 + 1e-7)
        weights[len(weights)] = net
        return net

    monkeypatch.setattr(loading, "build_net", other_processor)
    assert train()[1].cached and weights
    model = kmod.load_model("nano", FACTS)
    with torch.no_grad():
        next(model.net.parameters()).mul_(1.5)  # no longer the preset's weights
    assert loading.start_of(model) == model.fingerprint()
