"""What the lab's controls have in common, the controls for settings, and those that run an edit."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ipywidgets as w

from ..constraints import CONSTRAINTS
from ..editing.methods import Option
from ..lab.settings import PLACE, Settings, offered, place_name
from ..models.language_model import LanguageModel
from ..parts import blocks
from . import view


@contextmanager
def silent_on_a_page() -> Iterator[None]:
    """On a static page, widgets made inside send no messages: their state would only fill the notebook."""
    original = w.Widget.open
    if view.on_a_page():
        w.Widget.open = lambda widget: None
    try:
        yield
    finally:
        w.Widget.open = original


# ipywidgets 7, which Colab has, knows a tooltip only as this trait of what has a description; 8 has it on all.
TIP = "tooltip" if w.DOMWidget.class_traits().get("tooltip") else "description_tooltip"


class PageWidget(w.VBox):
    """A widget that shows `_page()`, a text of HTML, on a static page (with ipywidgets 8; version 7 is always live)."""

    def __init__(self, *parts: w.Widget):
        style = w.HTML(view.STYLE, layout=w.Layout(height="0", margin="0"))
        super().__init__([style, *parts], layout=w.Layout(width="100%"))

    def _repr_mimebundle_(self, **kwargs) -> dict:
        if not view.on_a_page():
            return super()._repr_mimebundle_(**kwargs)
        return {"text/html": self._page(), "text/plain": repr(self)}


def wide(**more) -> w.Layout:
    return w.Layout(**{"width": "100%", "min_width": "0", "margin": "2px 0"} | more)


def control(kind: type[w.Widget], label: str, tip: str, layout: w.Layout | None = None, **more) -> w.Widget:
    """A control with a label, which screen readers read, and a tooltip."""
    style = {"description_width": "88px"}
    return kind(description=label, style=style, layout=layout or wide(), **{TIP: tip}, **more)


def row(*children: w.Widget, least: str = "250px") -> w.Box:
    """Side by side where each but the buttons has a width of `least`, else one below the other."""
    for child in children:
        if not isinstance(child, w.Button):
            child.layout.flex, child.layout.width = f"1 1 {least}", "auto"
    return w.Box(children, layout=wide(flex_flow="row wrap", align_items="flex-start"))


def panel(*children: w.Widget) -> w.VBox:
    """A part of the lab."""
    return w.VBox(children, layout=wide(padding="0 12px 0 0"))


def area(height: str) -> w.HTML:
    """A place for output. Its height is fixed, so that nothing jumps when it is filled."""
    return w.HTML(layout=wide(height=height, overflow="auto"))


def title(text: str) -> w.HTML:
    return w.HTML(f"<h3 style='margin:6px 0 0;font-size:14px'>{text}</h3>", layout=wide())


class Listening:
    """Event handlers that report an error in one line, which goes when something works again (`say("", "calm")`), and a
    way to change a control without calling them."""

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
            else:
                self.say("", "calm")

        return handle

    def changes(self, action: Callable[[], None], *controls: w.Widget, trait: str = "value") -> None:
        for each in controls:
            each.observe(self.handler(action), trait)

    def button(self, text: str, tip: str, action: Callable[[], None], **more) -> w.Button:
        button = w.Button(description=text, tooltip=tip, layout=w.Layout(width="auto", min_width="84px"), **more)
        button.on_click(self.handler(action))
        return button

    def enter(self, action: Callable[[], None], text: w.Text) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # ipywidgets has no other event for Enter
            text.on_submit(self.handler(action))

    @contextmanager
    def deaf(self) -> Iterator[None]:
        self._deaf = True
        try:
            yield
        finally:
            self._deaf = False


def reason(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the model is as it was"
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    first = text.strip().partition("\n")[0]
    if first and isinstance(error, (ValueError, TypeError, KeyError, OSError)):
        return first
    return f"{type(error).__name__}: {first or 'no reason given'}"


class SettingControls:
    """How to edit, as the registry of methods has it. What the chosen method does not take is disabled or hidden."""

    def __init__(self, model: LanguageModel):
        self.methods, self.family = offered(model), type(model)
        depth = len(blocks(model.net))
        places = dict.fromkeys(p for method in self.methods.values() if method.takes & PLACE for p in method.places)
        places = [(place_name(place), place) for place in (*places, *range(depth))]
        balls = [*((name, name) for name in CONSTRAINTS), ("none", None)]
        tip = "The ball around the original weights that the edit must stay in"
        self.method = control(w.Dropdown, "Method", "How to edit", options=list(self.methods))
        self.block = control(w.Dropdown, "Block", "Which part of the model may change", options=places, value=depth - 1)
        self.constraint = control(w.Dropdown, "Constraint", tip, options=balls)
        self.delta = control(
            w.FloatLogSlider, "δ slider", "Radius of the constraint, on a log scale",
            readout=False, value=3e-3, min=-5, max=1, step=0.02, continuous_update=False,
        )  # fmt: skip
        # The handle of an ipywidgets slider has no name: screen readers find this field instead. It is a text, as an
        # empty field for numbers counts as 0.
        tip = "Radius of the constraint, as a number, such as 0.003"
        self.radius = control(w.Text, "δ", tip, value="0.003", continuous_update=False)
        self.delta.observe(lambda _: setattr(self.radius, "value", f"{self.delta.value:.4g}"), "value")
        self.radius.observe(lambda _: self._typed(), "value")
        self.steps = control(w.BoundedIntText, "Steps", "The most optimiser steps", value=60, min=1, max=5000)
        self.early = control(
            w.Checkbox, "stop when the loss is flat", "End before the last step", value=True, indent=True
        )
        # The method's own settings, except the dial (that is δ) and those without a default.
        self.options = {
            (name, key): option_control(key, option)
            for name, method in self.methods.items()
            for key, option in method.options.items()
            if key != method.dial and option.default is not None
        }
        self.own = row()
        chosen = (self.method, self.block, self.constraint, self.delta, self.radius, self.steps, self.early)
        self.all = (*chosen, *self.options.values())
        self.method.observe(lambda _: self._own_block(), "value")
        rows = (row(self.method, self.block), row(self.constraint, self.steps), row(self.radius, self.delta))
        self.box = panel(*rows, row(self.early), self.own)
        self.enable()

    def _typed(self) -> None:
        """Take the radius that was typed; what is none stays in the field, and `settings` refuses it."""
        if (radius := self._radius()) is not None and f"{radius:.4g}" != f"{self.delta.value:.4g}":
            self.delta.value = radius

    def _radius(self) -> float | None:
        try:
            radius = float(self.radius.value.replace(",", "."))
        except ValueError:
            return None
        low, high = (self.delta.base**power for power in (self.delta.min, self.delta.max))
        return radius if low <= radius <= high else None

    def _own_block(self) -> None:
        """A method that edits one block starts at its own: where ROME reads a fact, the last block is of no use."""
        function = self.methods[self.method.value].function
        own = getattr(inspect.signature(function).parameters.get("block"), "default", None)
        if isinstance(own, int) and own >= 0:
            self.block.value = own

    def settings(self) -> Settings:
        """The settings that the controls hold. Raises ValueError for a value that the method does not allow."""
        name = self.method.value
        if self._radius() is None and not self.radius.disabled:
            low, high = (self.delta.base**power for power in (self.delta.min, self.delta.max))
            raise ValueError(f"δ must be a number from {low:g} to {high:g}, such as 0.003; got {self.radius.value!r}")
        own = ((key, field.value) for (method, key), field in self.options.items() if method == name)
        own = tuple((key, value) for key, value in own if value != self.methods[name].options[key].default)
        values = (name, self.block.value, self.constraint.value, self.delta.value, self.steps.value)
        return Settings(*values, options=own, early=self.early.value, family=self.family)

    def enable(self) -> None:
        name, method = self.method.value, self.methods[self.method.value]
        bounded = method.dial == "constraint" and self.constraint.value is not None
        self.block.disabled = not method.takes & PLACE
        self.constraint.disabled = method.dial != "constraint"
        self.radius.disabled = self.delta.disabled = not bounded and method.dial not in method.options
        self.steps.disabled = not method.descends
        self.early.disabled = "stop" not in inspect.signature(method.function).parameters
        self.own.children = tuple(field for (owner, _), field in self.options.items() if owner == name)


def option_control(name: str, option: Option) -> w.Widget:
    kind = w.Dropdown if option.choices else w.IntText if option.whole else w.FloatText
    more = {"options": option.choices} if option.choices else {}
    layout = wide(flex="1 1 250px", width="auto")
    return control(kind, name, f"The method's own setting {name}", layout, value=option.default, **more)


class RunControls(Listening):
    """Buttons to edit and to stop; progress, status and result."""

    def __init__(self, say: Callable, start: Callable, stop: Callable):
        super().__init__(say)
        self.edit = self.button("Edit", "Make the edit, in the background", start, button_style="primary")
        self.stop = self.button("Stop", "Stop; the model stays as it was", stop, disabled=True)
        self.estimate = w.HTML(layout=w.Layout(height="30px", min_width="0"))
        self.progress = control(w.IntProgress, "Progress", "Steps done", max=1)
        self.status, self.verdict, self.curve = area("44px"), area("52px"), area("84px")
        self.result, self.broken = area("250px"), area("170px")
        self.result_box = panel(title("What it changed"), self.result, title("What it broke"), self.broken)

    def box(self, *more: w.Widget) -> w.VBox:
        """The buttons, with `more` beside them, and what is said of the run."""
        buttons = row(self.edit, self.stop, *more, self.estimate, least="110px")
        return panel(buttons, self.verdict, self.status, self.progress, self.curve)
