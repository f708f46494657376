"""A training that is interrupted goes on as if it had not been."""

import pytest
import torch

import kmod
from kmod.progress import watching
from kmod.training import checkpoint as checkpoints


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KMOD_CACHE", str(tmp_path))
    return tmp_path / "memorised"


@pytest.fixture
def often(monkeypatch):
    """A file after every step."""
    made = checkpoints.Checkpoint.__init__
    monkeypatch.setattr(checkpoints.Checkpoint, "__init__", lambda self, path, key: made(self, path, key, minutes=0))


FACTS = kmod.load_facts("bios:4")


def train(**settings):
    model = kmod.load_model("nano", FACTS)
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
    monkeypatch.setattr(checkpoints.Checkpoint, "keep", kept_until(11, checkpoints.Checkpoint.keep))
    interrupted(20)
    monkeypatch.undo()
    monkeypatch.setenv("KMOD_CACHE", str(cache.parent))
    seen = []
    with watching(lambda history: seen.append(history.steps) and None):
        again, _ = train()
    assert again == whole and seen[0] == 12


def kept_until(step, keep):
    def only(self, params, optimizers, history, now=False):
        if history.steps <= step:
            keep(self, params, optimizers, history, now)

    return only


@pytest.mark.parametrize("where", ["the backward pass", "Adam", "after Adam"])
def test_interrupted_within_a_step_it_loses_that_step_at_most(cache, monkeypatch, where):
    whole, _ = train(cache=False)
    steps = []

    def interrupting(call):
        def called(*args, **others):
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
            train()
    seen = []
    with watching(lambda history: seen.append(history.steps) and None):
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


def test_interrupted_after_the_last_step_it_ends_with_the_same_weights(cache, often, monkeypatch):
    """It stops at the step at which all was recalled, though that is asked again."""
    enough = {"least_steps": 400}
    whole, report = train(cache=False, **enough)
    assert report.stopped == "recalled"
    with monkeypatch.context() as patch:
        patch.setitem(
            kmod.memorise.__globals__, "score", lambda *args, **others: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
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
    assert [str(warning.message).split(",")[0] for warning in said] == ["the training goes on", "memorised"]
