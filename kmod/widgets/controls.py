"""What the lab's controls have in common, the controls for settings, and those that run an edit.

Every control has a label (`description`) for screen readers and a tooltip. Every area that is filled later has its
final height from the start, so that nothing jumps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comm
import ipywidgets as w

from ..constraints import CONSTRAINTS
from ..editing.methods import Method, Option
from ..lab.settings import PLACE, Settings, offered, place_name
from ..models.masked_lm import MaskedLM
from ..parts import blocks
from . import view

LABEL = {"description_width": "88px"}


@contextmanager
def silent_on_a_page() -> Iterator[None]:
    """On a static page, widgets made inside send no messages: their state would only fill the notebook."""
    original = comm.create_comm
    if view.on_a_page():
        comm.create_comm = comm.DummyComm
    try:
        yield
    finally:
        comm.create_comm = original


class PageWidget(w.VBox):
    """A widget that shows `_page()`, a text of HTML, on a static page."""

    def _repr_mimebundle_(self, **kwargs) -> dict:
        if not view.on_a_page():
            return super()._repr_mimebundle_(**kwargs)
        return {"text/html": self._page(), "text/plain": repr(self)}


def wide(**more) -> w.Layout:
    return w.Layout(**{"width": "100%", "min_width": "0", "margin": "2px 0"} | more)


def row(*children: w.Widget, least: str = "250px") -> w.Box:
    """Side by side where each has a width of `least`, else one below the other."""
    for child in children:
        child.layout.flex, child.layout.width = f"1 1 {least}", "auto"
    return w.Box(children, layout=wide(flex_flow="row wrap", align_items="flex-start"))


def area(height: str) -> w.HTML:
    """A place for output, of fixed height."""
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
    """Event handlers that report an error in one line, and a way to change a control without calling them."""

    def __init__(self, say: Callable[[str, str], None]):
        self.say, self._deaf = say, False

    def handler(self, action: Callable[[], None]) -> Callable:
        def handle(*_):
            if self._deaf:
                return
            try:
                action()
            except (Exception, KeyboardInterrupt) as error:
                self.say(reason(error), "alert")

        return handle

    def changes(self, action: Callable[[], None], *controls: w.Widget, trait: str = "value") -> None:
        for control in controls:
            control.observe(self.handler(action), trait)

    def clicks(self, action: Callable[[], None], button: w.Button) -> None:
        button.on_click(self.handler(action))

    def enter(self, action: Callable[[], None], text: w.Text) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # ipywidgets has no other event for Enter
            text.on_submit(self.handler(action))

    @contextmanager
    def deaf(self) -> Iterator[None]:
        before, self._deaf = self._deaf, True
        try:
            yield
        finally:
            self._deaf = before


def reason(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip().splitlines()
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the model is as it was"
    if isinstance(error, (ValueError, TypeError, KeyError, OSError)) and lines:
        return lines[0]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


class SettingControls:
    """How to edit, as the registry of methods has it. What the chosen method does not take is disabled or hidden."""

    def __init__(self, model: MaskedLM):
        self.methods, self.family = offered(model), type(model)
        depth = len(blocks(model.net))
        places = dict.fromkeys(p for method in self.methods.values() if method.takes & PLACE for p in method.places)
        self.method = w.Dropdown(
            description="Method", options=list(self.methods), style=LABEL, layout=wide(), tooltip="How to edit"
        )
        self.block = w.Dropdown(
            description="Block", options=[(place_name(place), place) for place in (*places, *range(depth))],
            value=depth - 1, style=LABEL, layout=wide(), tooltip="Which part of the model may change",
        )  # fmt: skip
        self.constraint = w.Dropdown(
            description="Constraint", options=[*((name, name) for name in CONSTRAINTS), ("none", None)], style=LABEL,
            layout=wide(), tooltip="The ball around the original weights that the edit must stay in",
        )  # fmt: skip
        self.delta = w.FloatLogSlider(
            description="δ slider", readout=False, value=3e-3, min=-5, max=1, step=0.02, style=LABEL, layout=wide(),
            tooltip="Radius of the constraint, on a log scale", continuous_update=False,
        )  # fmt: skip
        # The handle of an ipywidgets slider has no name: screen readers find this field instead.
        self.radius = w.BoundedFloatText(
            description="δ", value=3e-3, min=1e-5, max=10, step=1e-4, style=LABEL, layout=wide(),
            tooltip="Radius of the constraint, as a number", continuous_update=False,
        )  # fmt: skip
        w.link((self.delta, "value"), (self.radius, "value"))
        self.steps = w.BoundedIntText(
            description="Steps", value=60, min=1, max=5000, style=LABEL, layout=wide(), tooltip="Optimiser steps"
        )
        self.options = {name: self._option_controls(method) for name, method in self.methods.items()}
        self.own = row()
        own = [control for controls in self.options.values() for control in controls.values()]
        self.all = (self.method, self.block, self.constraint, self.delta, self.steps, *own)
        self.box = w.VBox(
            [
                title("How"),
                row(self.method, self.block),
                row(self.constraint, self.steps),
                row(self.radius, self.delta),
                self.own,
            ],
            layout=wide(),
        )
        self.enable()

    @staticmethod
    def _option_controls(method: Method) -> dict[str, w.Widget]:
        """A control for each of the method's own settings, except the dial (that is δ) and those without a default."""
        return {
            name: _option_control(name, option)
            for name, option in method.options.items()
            if name != method.dial and option.default is not None
        }

    def settings(self) -> Settings:
        """The settings that the controls hold. Raises ValueError for a value that the method does not allow."""
        name = self.method.value
        defaults = self.methods[name].options
        own = ((key, control.value) for key, control in self.options[name].items())
        return Settings(
            name, self.block.value, self.constraint.value, self.delta.value, self.steps.value,
            options=tuple((key, value) for key, value in own if value != defaults[key].default), family=self.family,
        )  # fmt: skip

    def enable(self) -> None:
        name = self.method.value
        method = self.methods[name]
        bounded = method.dial == "constraint" and self.constraint.value is not None
        self.block.disabled = not method.takes & PLACE
        self.constraint.disabled = method.dial != "constraint"
        self.radius.disabled = self.delta.disabled = not bounded and method.dial not in method.options
        self.steps.disabled = not method.descends
        self.own.children = tuple(self.options[name].values())


def _option_control(name: str, option: Option) -> w.Widget:
    common = {
        "description": name, "value": option.default, "tooltip": f"The method's own setting {name}", "style": LABEL,
        "layout": wide(flex="1 1 250px", width="auto"),
    }  # fmt: skip
    if option.choices:
        return w.Dropdown(options=option.choices, **common)
    return (w.IntText if option.whole else w.FloatText)(continuous_update=False, **common)


class RunControls:
    """Buttons to edit and to stop; progress, status and result."""

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
