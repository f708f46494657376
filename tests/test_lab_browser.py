"""The edit lab as people use it: JupyterLab in headless Chromium, by clicks and typing, from opening the notebook to a
saved edit that another kernel reads.

Needs JupyterLab and Chromium. Without them these tests skip and say why; with KMOD_REQUIRE_BOOK=1 they fail instead.
Screenshots land in _build/screenshots.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[1]
SHOTS = ROOT / "_build" / "screenshots"
TOKEN = "kmod-lab-test"
OPEN = """import kmod
atlas = kmod.load_facts("atlas")
chosen = ("P397", "P1303", "P449", "P170")
facts = kmod.FactBase([f for f in atlas if f.relation in chosen], {r: atlas.relations[r] for r in chosen}, "small")
model = kmod.load_model("model")
start = model.fingerprint()
lab = kmod.EditLab(model, facts)
lab"""
READ = """import glob
(path,) = glob.glob("edit-1*.safetensors")
edit = kmod.Edit.load(path)
assert edit.before == start
edit.apply(model)
print("READ", model.fingerprint() == edit.after, edit.made["facts"])"""


def notebook(path: Path, *cells: str) -> None:
    code = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": cell}
        for i, cell in enumerate(cells)
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.write_text(json.dumps({"cells": code, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}), "utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, _memorised):
    """A folder with a notebook that opens the lab on a small memorised model, and one that reads the saved edit."""
    folder = tmp_path_factory.mktemp("lab")
    _memorised.save(folder / "model")
    notebook(folder / "lab.ipynb", OPEN)
    news = folder / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')
    notebook(folder / "reader.ipynb", OPEN.rsplit("\n", 2)[0], READ)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    """JupyterLab on that folder; its address."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ServerApp.port": port, "ServerApp.token": TOKEN, "ServerApp.root_dir": str(folder),
        "ServerApp.open_browser": False, "ServerApp.allow_root": True, "LabApp.news_url": "",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate", "LabApp.collaborative": False,
    }  # fmt: skip
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1", "JUPYTER_CONFIG_DIR": str(folder / ".jupyter"),
        "JUPYTER_DATA_DIR": str(folder / ".data"), "JUPYTER_RUNTIME_DIR": str(folder / ".run"),
    }  # fmt: skip
    environment.pop("KMOD_CHARTS", None)  # as people have it
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in settings.items())],
        cwd=folder, env=environment, stdout=log, stderr=log,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2)
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def visit(browser, server, name, width=1280, height=1000):
    """Open a notebook without side bars, block the network, and run its cells."""
    page = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True).new_page()
    page.faults, page.out = [], page.locator(".jp-OutputArea-output").last

    def gate(route):
        if route.request.url.startswith((server, server.replace("http", "ws"))):
            return route.continue_()
        page.faults.append(f"asks the network for {route.request.url}")
        return route.abort()

    page.route(re.compile("^(https?|wss?):"), gate)
    page.on("pageerror", lambda error: page.faults.append(f"script: {error}"))
    page.on("dialog", lambda dialog: (page.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.goto(f"{server}/doc/tree/{name}.ipynb?token={TOKEN}&reset")
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=120_000)
    page.get_by_text("| Idle").wait_for(timeout=120_000)  # the kernel, in the bar below
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    for _ in range(page.locator(".jp-Notebook .jp-CodeCell").count()):
        page.keyboard.press("Shift+Enter")
    return page


@pytest.fixture(scope="module")
def lab(browser, server):
    page = visit(browser, server, "lab")
    try:
        page.out.get_by_label("Search").wait_for(timeout=90_000)
    except Exception:
        page.screenshot(path=SHOTS / "lab-failed.png")
        raise
    yield page
    page.context.close()


def shoot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.out.screenshot(path=SHOTS / f"lab-{name}.png")


def heights(page):
    """The position of each heading of the lab, which must not change."""
    return page.locator(".jp-OutputArea-output h3").evaluate_all(
        "all => all.map(e => Math.round(e.getBoundingClientRect().top - all[0].getBoundingClientRect().top))"
    )


def on_one_screen(page, new):
    """What is chosen, the new object, the verdict and the answers stand in one window of a small laptop."""
    seen = [
        page.out.get_by_label("Search"), page.out.get_by_label("New object"), page.locator(".kmod-verdict"),
        *(page.out.get_by_role("button", name=name, exact=True) for name in ("Edit", "Undo")),
        page.locator(".kmod-answers td").get_by_text(new).last, page.out.get_by_text("What it broke"),
    ]  # fmt: skip
    boxes = [each.bounding_box() for each in seen]
    assert max(b["y"] + b["height"] for b in boxes) - min(b["y"] for b in boxes) < 640, boxes


@pytest.fixture(autouse=True)
def picture_of_a_failure(request, lab):
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        SHOTS.mkdir(parents=True, exist_ok=True)
        lab.screenshot(path=SHOTS / "lab-failed.png")


def test_from_search_to_a_saved_edit_by_keyboard_and_mouse(lab, folder, browser, server):
    page = lab
    places = heights(page)
    page.out.get_by_label("Search").click()
    page.keyboard.type("guernica")  # as fast as it goes: Enter reaches the kernel before the last letters
    page.keyboard.press("Enter")
    page.out.get_by_text(re.compile("Guernica.*MASK")).first.wait_for(timeout=20_000)
    options = page.locator("datalist option").evaluate_all("all => all.slice(0, 3).map(o => o.value)")
    assert options
    page.out.get_by_label("New object").click()
    page.keyboard.type(options[1])
    page.keyboard.press("Tab")
    page.out.get_by_text("Can be written").wait_for(timeout=20_000)
    page.out.get_by_text(re.compile(r"at most \d+\.\d s")).wait_for(timeout=20_000)
    shoot(page, "before-desk")
    page.wait_for_timeout(500)  # while the kernel still works on the last value, the browser holds the next one back
    page.out.get_by_label("New object").fill("")
    page.keyboard.type(options[0])
    page.keyboard.press("Tab")
    page.wait_for_timeout(500)  # a click at once can overtake what was typed: the browser may hold a value back
    started = time.time()
    page.out.get_by_role("button", name="Edit", exact=True).click()
    page.locator(".kmod-verdict").get_by_text("learnt").wait_for(timeout=60_000)
    print(f"click to verdict: {time.time() - started:.2f} s")
    page.locator(".kmod-verdict").get_by_text(re.compile(r"\d+ of \d+ other facts broke$")).wait_for(timeout=60_000)
    print(f"click to the whole list of what broke: {time.time() - started:.2f} s")
    page.out.get_by_text("Edit 1 is applied").wait_for(timeout=60_000)
    result = page.out.get_by_text(re.compile("^Edit 1 · ")).first
    assert f"→ {options[0]} " in result.inner_text()
    assert result.is_visible() and page.out.get_by_text("The change, part by part").count() == 1
    assert page.locator("td .kmod-share").count() >= 4
    on_one_screen(page, options[0])
    shoot(page, "after-desk")
    assert heights(page) == places, "the lab jumped"
    for name, said in (("Undo", "Edit 1 is undone, bit for bit"), ("Redo", "Edit 1 is applied again")):
        page.out.get_by_role("button", name=name, exact=True).focus()
        page.keyboard.press("Enter")
        page.out.get_by_text(said).wait_for(timeout=20_000)
    page.out.get_by_text("History: save").click()
    page.out.get_by_role("button", name="Save").click()
    page.out.get_by_text("Download edit-1").first.wait_for(timeout=20_000)
    with page.expect_download() as download:
        page.out.get_by_role("link", name=re.compile(r"Download .*safetensors")).click()
    (saved,) = folder.glob("edit-1*.safetensors")
    assert Path(download.value.path()).read_bytes() == saved.read_bytes()
    assert saved.with_suffix(".py").read_text().startswith("import kmod")
    assert page.faults == []
    reader = visit(browser, server, "reader")
    reader.locator("body").get_by_text(re.compile("READ True")).wait_for(timeout=120_000)
    reader.context.close()


def test_stop_and_responsiveness_while_an_edit_runs(lab):
    page = lab
    page.out.get_by_text("How", exact=True).click()
    page.out.get_by_label("stop when the loss is flat").uncheck()
    page.out.get_by_label("Steps").fill("5000")
    page.out.get_by_label("Steps").press("Tab")
    page.out.get_by_label("Search").fill("dione")
    page.out.get_by_label("Facts").locator("option", has_text="Dione").first.wait_for(state="attached")
    page.out.get_by_label("Search").press("Enter")
    page.out.get_by_text(re.compile("Dione.*MASK")).first.wait_for()
    page.out.get_by_label("New object").fill("Jupiter")
    page.keyboard.press("Enter")
    page.out.get_by_text("Can be written").wait_for(timeout=20_000)
    page.out.get_by_role("button", name="Edit", exact=True).click()
    page.out.get_by_text(re.compile(r"step \d+ of 5000")).wait_for(timeout=30_000)
    started = time.time()
    page.out.get_by_label("Search").fill("paganini")
    page.out.get_by_label("Facts").locator("option", has_text="violin").first.wait_for(state="attached")
    print(f"a search while an edit runs: {time.time() - started:.2f} s")
    page.get_by_title("Interrupt the kernel").click()  # reaches nobody: the edit runs in a thread of its own
    page.out.get_by_role("button", name="Stop").click()
    page.out.get_by_text("the model is as it was: stopped").wait_for(timeout=30_000)
    assert page.out.get_by_role("button", name="Edit", exact=True).is_enabled()
    assert page.faults == []


def test_what_is_typed_stays_text(lab):
    page = lab
    page.out.get_by_role("tab", name="My own").click()
    page.out.get_by_label("Statement").fill("<img src=x onerror=alert(1)> <b>is</b> [MASK] [MASK]")
    page.out.get_by_label("Statement").press("Enter")
    page.out.get_by_text("exactly once").wait_for(timeout=20_000)
    page.out.get_by_role("tab", name="A table").click()
    page.out.get_by_label("Table").fill("<script>alert(1)</script>, P397, x\nbad line")
    page.out.get_by_label("Table").press("Tab")
    page.out.get_by_text("line 2: needs subject").wait_for(timeout=20_000)
    assert page.locator(".kmod-lab img, .kmod-lab script").count() == 0 and page.faults == []


def test_controls_are_named_for_those_who_do_not_see_them(lab):
    nameless = []
    for role in ("textbox", "combobox", "listbox", "button", "slider", "spinbutton", "tab"):
        for control in lab.out.get_by_role(role).all():
            name = control.evaluate(
                "e => e.ariaLabel || e.labels?.[0]?.textContent || e.title || e.textContent"
                " || document.getElementById(e.getAttribute('aria-labelledby'))?.textContent"
            )
            # The handle of an ipywidgets slider has none: a number field with the same value stands beside it.
            if not (name or "").strip() and "noUi-handle" not in (control.get_attribute("class") or ""):
                nameless.append((role, control.evaluate("e => e.outerHTML.slice(0, 200)")))
    assert not nameless
    assert lab.out.get_by_role("textbox", name="δ", exact=True).count() == 1


def test_a_phone_shows_all_of_it(lab):
    lab.out.get_by_role("tab", name="A fact").click()
    lab.set_viewport_size({"width": 400, "height": 2600})
    lab.wait_for_timeout(800)
    wide = lab.out.evaluate(
        """root => [...root.querySelectorAll('input, select, textarea, button, .widget-html')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""
    )
    shoot(lab, "phone")
    assert not wide
    lab.set_viewport_size({"width": 1280, "height": 1000})
