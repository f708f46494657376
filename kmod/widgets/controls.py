"""What the lab's controls have in common, and the settings of an edit.

Every control has a label (`description`) that screen readers read, and a tooltip; every area that fills later has its
height from the start, so that nothing jumps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ipywidgets as w

from ..lab.settings import CONSTRAINTS, Settings, methods_for
from ..models.masked_lm import MaskedLM
from ..parts import blocks

LABEL = {"description_width": "88px"}


def wide(**more) -> w.Layout:
    return w.Layout(**{"width": "100%", "min_width": "0", "margin": "2px 0"} | more)


def row(*children: w.Widget, least: str = "250px") -> w.Box:
    """Side by side where there is room for `least` each, else one below the other."""
    for child in children:
        child.layout.flex, child.layout.width = f"1 1 {least}", "auto"
    return w.Box(children, layout=wide(flex_flow="row wrap", align_items="flex-start"))


def area(height: str) -> w.HTML:
    """A place for output, of a height that stays."""
    return w.HTML(layout=wide(height=height, overflow="auto"))


def title(text: str) -> w.HTML:
    return w.HTML(f"<h3 style='margin:6px 0 0;font-size:14px'>{text}</h3>", layout=wide())


def button(text: str, tip: str, **more) -> w.Button:
    return w.Button(description=text, tooltip=tip, layout=w.Layout(width="auto", min_width="84px"), **more)


def beside(field: w.Widget, action: w.Button) -> w.Box:
    """A field and the button that uses it."""
    field.layout.flex, field.layout.width = "1 1 200px", "auto"
    return w.Box([field, action], layout=wide(flex_flow="row wrap"))


class Listening:
    """Handlers that say in one line what went wrong, and a way to change a control without them hearing it."""

    def __init__(self, say: Callable[[str, str], None]):
        self.say, self._deaf = say, False

    def handler(self, does: Callable[[], None]) -> Callable:
        def handle(*_):
            if self._deaf:
                return
            try:
                does()
            except (Exception, KeyboardInterrupt) as error:
                self.say(reason(error), "alert")

        return handle

    def changes(self, does: Callable[[], None], *controls: w.Widget, trait: str = "value") -> None:
        for control in controls:
            control.observe(self.handler(does), trait)

    def clicks(self, does: Callable[[], None], button: w.Button) -> None:
        button.on_click(self.handler(does))

    def enter(self, does: Callable[[], None], text: w.Text) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the one way to hear of Enter
            text.on_submit(self.handler(does))

    @contextmanager
    def deaf(self) -> Iterator[None]:
        before, self._deaf = self._deaf, True
        try:
            yield
        finally:
            self._deaf = before


def reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    said = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip().splitlines()
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the model is as it was"
    if isinstance(error, (ValueError, TypeError, KeyError, OSError)) and said:
        return said[0]
    return f"{type(error).__name__}: {said[0] if said else 'no reason given'}"


class SettingControls:
    """How to change it. What the chosen method does not take is disabled."""

    def __init__(self, model: MaskedLM):
        self.methods = methods_for(model)
        depth = len(blocks(model.net))
        fae = model.net.config.model_type == "fae"
        places = [("all blocks", "all"), *((f"block {i}", i) for i in range(depth))]
        places += [("AWT: outside the blocks", "AWT")] * fae
        self.method = w.Dropdown(
            description="Method", options=list(self.methods), style=LABEL, layout=wide(), tooltip="How to edit"
        )
        self.block = w.Dropdown(
            description="Block", options=places, value=depth - 1, style=LABEL, layout=wide(),
            tooltip="Which Transformer block may change",
        )  # fmt: skip
        self.constraint = w.Dropdown(
            description="Constraint", options=list(CONSTRAINTS), style=LABEL, layout=wide(),
            tooltip="The ball around the original weights that the edit must stay in",
        )  # fmt: skip
        self.delta = w.FloatLogSlider(
            description="δ slider", readout=False, value=3e-3, min=-5, max=1, step=0.02, style=LABEL, layout=wide(),
            tooltip="Radius of the constraint, on a log scale", continuous_update=False,
        )  # fmt: skip
        # The handle of an ipywidgets slider has no name of its own: this field is the way for screen readers.
        self.radius = w.BoundedFloatText(
            description="δ", value=3e-3, min=1e-5, max=10, step=1e-4, style=LABEL, layout=wide(),
            tooltip="Radius of the constraint, as a number", continuous_update=False,
        )  # fmt: skip
        w.link((self.delta, "value"), (self.radius, "value"))
        self.steps = w.BoundedIntText(
            description="Steps", value=60, min=1, max=5000, style=LABEL, layout=wide(), tooltip="Optimiser steps"
        )
        self.all = (self.method, self.block, self.constraint, self.delta, self.steps)
        self.box = w.VBox(
            [
                title("How"),
                row(self.method, self.block),
                row(self.constraint, self.steps),
                row(self.radius, self.delta),
            ],
            layout=wide(),
        )

    def settings(self) -> Settings:
        return Settings(self.method.value, self.block.value, self.constraint.value, self.delta.value, self.steps.value)

    def enable(self, *_) -> None:
        takes = self.methods[self.method.value].takes
        bound = "constraint" in takes and CONSTRAINTS[self.constraint.value] is not None
        self.block.disabled = not takes & {"block", "where"}
        self.constraint.disabled = "constraint" not in takes
        self.radius.disabled = self.delta.disabled = not bound and "delta" not in takes
        self.steps.disabled = "steps" not in takes


class RunControls:
    """Edit, stop, and what is happening."""

    def __init__(self):
        self.edit = button("Edit", "Make the edit, in the background", button_style="primary")
        self.stop = button("Stop", "Stop; the model stays as it was", disabled=True)
        self.estimate = w.HTML(layout=w.Layout(flex="1 1 200px", height="30px", min_width="0"))
        self.progress = w.IntProgress(
            description="Progress", min=0, max=1, style=LABEL, layout=wide(), tooltip="Steps done"
        )
        self.status = area("64px")
        self.curve = area("132px")
        self.result = area("430px")
        self.result_box = w.VBox([title("What it changed"), self.result], layout=wide())
        buttons = w.Box([self.edit, self.stop, self.estimate], layout=wide(flex_flow="row wrap"))
        self.box = w.VBox([buttons, self.progress, self.status, self.curve], layout=wide())
