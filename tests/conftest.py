"""Shared by all tests: a small fact base, and a small model that has memorised it (trained once a run)."""

import copy
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import kmod

DATA = Path(__file__).parents[2] / "shared" / "data"
# Started as root, in a container, without a screen; and it has no business on the network.
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # a page that asks the world gets no answer


def pytest_configure(config):
    """The chapters that nbval runs get their kernels as the book's build does."""
    if config.getoption("nbval_lax", False) or config.getoption("nbval", False):
        sys.path.append(str(Path(__file__).parents[1] / "book" / "_ext"))
        import kernels

        kernels.fork()


def missing(reason: str):
    (pytest.fail if os.environ.get("KMOD_REQUIRE_BOOK") == "1" else pytest.skip)(reason)


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


@pytest.fixture(scope="session")
def browser():
    """Chromium, one for all tests of a worker."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        path = found or playwright.chromium.executable_path
        if not Path(path).exists():
            missing("no browser: install chromium, or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS.split(), OFFLINE])
        yield browser
        browser.close()
