"""Shared by all tests: a small fact base, and a small model that has memorised it (trained once a run)."""

import copy
import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import kmod

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests neither fill the user's cache nor read it. Gives the user's own setting."""
    before = os.environ.get("KMOD_CACHE")
    os.environ["KMOD_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield before
    if before is None:
        del os.environ["KMOD_CACHE"]
    else:
        os.environ["KMOD_CACHE"] = before


@pytest.fixture(scope="session")
def atlas():
    return kmod.load_facts("atlas")


@pytest.fixture(scope="session")
def facts(atlas):
    """About 190 facts of four relations, some with objects of several word pieces."""
    chosen = ("P397", "P1303", "P449", "P170")
    kept = [fact for fact in atlas if fact.relation in chosen]
    return kmod.FactBase(kept, {r: atlas.relations[r] for r in chosen}, "small")


@pytest.fixture(scope="session")
def _memorised():
    return kmod.load_model("nano-atlas", device="cpu")


@pytest.fixture
def model(_memorised):
    """A memorised nano that the test may change."""
    return copy.deepcopy(_memorised)


@pytest.fixture
def data():
    """Real, released data for cross-checks; not part of the project."""
    if not DATA.is_dir():
        pytest.skip(f"CROSS-CHECK SKIPPED: no real data at {DATA}")
    return DATA


@pytest.fixture
def gradients():
    """Function of a training: the gradients that Adam is given at the first step of it, in the order of parameters."""

    def first(make):
        found = []

        def step(self, *args):
            found.append([p.grad.clone() for group in self.param_groups for p in group["params"]])
            return real(self, *args)

        real = torch.optim.Adam.step
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.Adam, "step", step)
            make()
        return found[0]

    return first
