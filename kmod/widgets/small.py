"""Two small widgets for the chapters: δ over one edit, and the parts of a model to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import ipywidgets as w

from ..checks import brief
from ..constraints import Linf
from ..editing import finetune
from ..evaluation import evaluate, score
from ..facts import Modification
from ..html import table
from ..lab.settings import place_name
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..parts import INSIDE, OUTSIDE, blocks, layout, plan
from . import view
from .controls import PageWidget, area, control, row, silent_on_a_page, title, wide

DELTAS = (3e-4, 5e-4, 1e-3, 1.5e-3, 2.5e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)


class DeltaExplorer(PageWidget):
    """One modification, edited once for each δ in advance; the slider shows what each edit learnt and kept.

    Args:
        model: not changed.
        deltas: radii of `Linf`, ascending.
        settings: of `kmod.finetune`.

    `records` are those that `kmod.charts.tradeoff` draws. Raises as `finetune` does.
    """

    def __init__(self, model: LanguageModel, change: Modification, deltas: Sequence[float] = DELTAS, **settings):
        check_model(model, change, learns=True)
        if not deltas or list(deltas) != sorted(deltas):
            raise ValueError(brief(f"deltas must be radii in ascending order, got {deltas!r}"))
        self.change, self.deltas = change, tuple(deltas)
        before = score(model, change.base, ["tests"])
        self.results, self.records = [], []
        for delta in self.deltas:
            edit = finetune(model, change, constraint=Linf(delta), **settings)
            result = evaluate(model, change.base, change, edit=edit, before=before, thorough=False)
            self.results.append(result)
            self.records.append({"method": "FTM", "delta": delta, "seed": settings.get("seed", 0)} | result.record())
        radii = [(f"{delta:g}", i) for i, delta in enumerate(self.deltas)]
        tip = "Radius of the constraint: how far a weight may move"
        with silent_on_a_page():
            self.slider = control(w.SelectionSlider, "δ slider", tip, options=radii, readout=False)
            # The handle of an ipywidgets slider has no name: screen readers find this menu instead.
            self.menu = control(w.Dropdown, "δ", tip, options=radii)
            w.link((self.slider, "value"), (self.menu, "value"))
            self.shown = area("300px")
            super().__init__(row(self.menu, self.slider), self.shown)
        self.slider.observe(lambda _: self._show(), "value")
        self.slider.value = max(range(len(self.deltas)), key=lambda i: self.results[i].A_mean)
        self._show()

    def _show(self) -> None:
        delta, result = self.deltas[self.slider.value], self.results[self.slider.value]
        learnt, before = view.percent(result.A_M.value), view.percent(result.A_FS_before.value)
        text = f"At δ = {delta:g}: new facts learnt {learnt}, unmodified facts right {result.A_FS} (before {before})"
        rows = [(a.statement, view.ranked(a.before, 3), view.ranked(a.after, 3)) for a in result.answers[:8]]
        caption = "Held-out phrasings of the modified facts"
        self.shown.value = view.block(view.note(text), table(rows, ("statement", "before", "after"), caption))

    def _page(self) -> str:
        rows = [
            (f"{delta:g}", *map(view.percent, (r.A_M.value, r.A_FS.value)), view.ranked(r.answers[0].after, 1))
            for delta, r in zip(self.deltas, self.results, strict=True)
        ]
        heads = ("δ", "new facts learnt (A_M)", "unmodified facts right (A_F∖S)", "best answer")
        caption = f"One edit under every δ; the answer is that to “{self.results[0].answers[0].statement}”"
        return view.page("the slider over δ", table(rows, heads, caption))

    def __repr__(self) -> str:
        return f"DeltaExplorer({self.change!r}, {len(self.deltas)} deltas)"


class BlockChooser(PageWidget):
    """The model from head to embeddings: press the parts that an edit may change.

    `block` and `component` are what `kmod.finetune` and `kmod.plan` take.
    """

    def __init__(self, model: LanguageModel):
        check_model(model)
        self.net = model.net
        sizes: Counter[int | str] = Counter()  # a block's number, or a component outside the blocks → parameters
        for name, (block, component) in layout(self.net).items():
            sizes[component if block is None else block] += self.net.get_parameter(name).numel()
        self.depth = depth = len(blocks(self.net))
        order = [part for part in ("decoder_bias", "head", *range(depth - 1, -1, -1), "embeddings") if part in sizes]
        size = {"max_width": "420px"}
        with silent_on_a_page():
            self.buttons = {
                part: w.ToggleButton(
                    description=f"{place_name(part)} · {sizes[part]:,} parameters",
                    tooltip=f"Whether an edit may change {place_name(part)}",
                    value=part == depth - 1,
                    layout=wide(**size, margin="1px 0"),
                )
                for part in order
            }
            parts, tip = [("all of it", None), *((name, name) for name in INSIDE)], "Which part of the chosen blocks"
            self.inside = control(w.Dropdown, "In blocks", tip, wide(**size), options=parts)
            self.shown = area("130px")
            super().__init__(title("Which parts may change"), *self.buttons.values(), self.inside, self.shown)
        for each in (*self.buttons.values(), self.inside):
            each.observe(lambda _: self._show(), "value")
        self._show()

    @property
    def _blocks(self) -> list[int]:
        return sorted(part for part, button in self.buttons.items() if button.value and isinstance(part, int))

    @property
    def block(self) -> list[int] | str:
        """The chosen blocks; "all" if none is, or all are."""
        return self._blocks if 0 < len(self._blocks) < self.depth else "all"

    @property
    def component(self) -> list[str] | None:
        """The chosen components, or None for whole blocks."""
        outside = [part for part in OUTSIDE if part in self.buttons and self.buttons[part].value]
        if not self._blocks:
            return outside
        if self.inside.value is None:
            return [*INSIDE, *outside] if outside else None
        return [self.inside.value, *outside]

    def plan(self):
        """`kmod.plan` of what is chosen. Raises ValueError if nothing is."""
        if not any(b.value for b in self.buttons.values()):
            raise ValueError("choose at least one part of the model")
        return plan(self.net, self.block, self.component)

    def _show(self) -> None:
        try:
            self.shown.value = view.code(str(self.plan()), "What an edit of these parts changes")
        except ValueError as error:
            self.shown.value = view.note(str(error), "alert")

    def _page(self) -> str:
        rows = [(*button.description.split(" · "), "yes" if button.value else "no") for button in self.buttons.values()]
        shown = table(rows, ("part", "size", "may change"), "The parts of the model, from the answer down")
        return view.page("the choice of parts", shown, self.shown.value)

    def __repr__(self) -> str:
        return f"BlockChooser(block={self.block!r}, component={self.component!r})"
