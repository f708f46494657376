"""Two small widgets for the chapters: δ over one edit, and the parts of a model to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import ipywidgets as w

from ..constraints import Linf
from ..editing import finetune
from ..evaluation import evaluate, score
from ..facts import Modification
from ..models.masked_lm import MaskedLM
from ..parts import INSIDE, OUTSIDE, layout, plan
from . import view
from .controls import LABEL, PageWidget, area, row, silent_on_a_page, title, wide

DELTAS = (3e-4, 5e-4, 1e-3, 1.5e-3, 2.5e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)


class DeltaExplorer(PageWidget):
    """One modification, edited once for each δ in advance; the slider shows what each edit learnt and kept.

    Args:
        model: not changed.
        deltas: radii of `Linf`, ascending.
        settings: of `kmod.finetune`.

    `records` are those that `kmod.charts.tradeoff` draws. Raises as `finetune` does.
    """

    def __init__(self, model: MaskedLM, change: Modification, deltas: Sequence[float] = DELTAS, **settings):
        if not deltas or list(deltas) != sorted(deltas):
            raise ValueError(f"deltas must be radii in ascending order, got {deltas!r}")
        self.change, self.deltas = change, tuple(deltas)
        before = score(model, change.base, ["tests"])
        self.results = []
        for delta in self.deltas:
            edit = finetune(model, change, constraint=Linf(delta), **settings)
            self.results.append(evaluate(model, change.base, change, edit=edit, before=before))
        self.records = [
            {"method": "FTM", "delta": delta, "seed": settings.get("seed", 0)} | result.record()
            for delta, result in zip(self.deltas, self.results, strict=True)
        ]
        with silent_on_a_page():
            radii = [(f"{delta:g}", i) for i, delta in enumerate(self.deltas)]
            tip = "Radius of the constraint: how far a weight may move"
            self.slider = w.SelectionSlider(
                description="δ slider", options=radii, readout=False, style=LABEL, layout=wide(), tooltip=tip
            )
            # The handle of an ipywidgets slider has no name: screen readers find this menu instead.
            self.menu = w.Dropdown(description="δ", options=radii, style=LABEL, layout=wide(), tooltip=tip)
            w.link((self.slider, "value"), (self.menu, "value"))
            self.shown = area("300px")
            style = w.HTML(view.STYLE, layout=w.Layout(height="0", margin="0"))
            parts = [style, row(self.menu, self.slider), self.shown]
            super().__init__(parts, layout=w.Layout(width="100%"))
        self.slider.observe(lambda _: self._show(), "value")
        self.slider.value = max(range(len(self.deltas)), key=lambda i: self.results[i].A_mean)
        self._show()

    def _show(self) -> None:
        i = self.slider.value
        result = self.results[i]
        rows = [
            (answer.statement, view.ranked(answer.before, 3), view.ranked(answer.after, 3))
            for answer in result.answers[:8]
        ]
        self.shown.value = view.block(
            view.note(
                f"At δ = {self.deltas[i]:g}: new facts learnt {view.percent(result.A_M.value)}, unmodified facts right "
                f"{result.A_FS} (before {view.percent(result.A_FS_before.value)})"
            ),
            view.table(rows, ("statement", "before", "after"), "Held-out phrasings of the modified facts"),
        )

    def _page(self) -> str:
        rows = [
            (f"{delta:g}", *map(view.percent, (r.A_M.value, r.A_FS.value)), view.ranked(r.answers[0].after, 1))
            for delta, r in zip(self.deltas, self.results, strict=True)
        ]
        heads = ("δ", "new facts learnt (A_M)", "unmodified facts right (A_F∖S)", "best answer")
        statement = self.results[0].answers[0].statement
        shown = view.table(rows, heads, f"One edit under every δ; the answer is that to “{statement}”")
        return view.page("the slider over δ", shown)

    def __repr__(self) -> str:
        return f"DeltaExplorer({self.change!r}, {len(self.deltas)} deltas)"


class BlockChooser(PageWidget):
    """The model from head to embeddings: press the parts that an edit may change.

    `block` and `component` are what `kmod.finetune` and `kmod.plan` take.
    """

    def __init__(self, model: MaskedLM):
        self.net = model.net
        places = layout(self.net)
        sizes: Counter[int | str] = Counter()  # a block's number, or a component outside the blocks → parameters
        for name, parameter in self.net.named_parameters():
            block, component = places[name]
            sizes[component if block is None else block] += parameter.numel()
        depth = len({block for block, _ in places.values() if block is not None})
        order = [part for part in ("decoder_bias", "head") if part in sizes]
        order += [*range(depth - 1, -1, -1), *(["embeddings"] if "embeddings" in sizes else [])]
        with silent_on_a_page():
            self.buttons = {
                part: w.ToggleButton(
                    description=f"{self._name(part)} · {sizes[part]:,} parameters",
                    tooltip=f"Whether an edit may change {self._name(part)}",
                    value=part == depth - 1,
                    layout=wide(max_width="420px", margin="1px 0"),
                )
                for part in order
            }
            self.inside = w.Dropdown(
                description="In blocks", options=[("all of it", None), *((c, c) for c in INSIDE)],
                layout=wide(max_width="420px"), tooltip="Which part of the chosen blocks",
            )  # fmt: skip
            self.shown = area("130px")
            style = w.HTML(view.STYLE, layout=w.Layout(height="0", margin="0"))
            parts = [style, title("Which parts may change"), *self.buttons.values(), self.inside, self.shown]
            super().__init__(parts, layout=w.Layout(width="100%"))
        for control in (*self.buttons.values(), self.inside):
            control.observe(lambda _: self._show(), "value")
        self._show()

    @staticmethod
    def _name(part: int | str) -> str:
        return f"block {part}" if isinstance(part, int) else part.replace("_", " ")

    @property
    def block(self) -> list[int] | str:
        """The chosen blocks; "all" if none is, or all are."""
        chosen = sorted(part for part, b in self.buttons.items() if b.value and isinstance(part, int))
        return chosen if 0 < len(chosen) < sum(isinstance(part, int) for part in self.buttons) else "all"

    @property
    def component(self) -> list[str] | str | None:
        """The chosen components, or None for whole blocks."""
        outside = [part for part in OUTSIDE if part in self.buttons and self.buttons[part].value]
        any_block = any(b.value for part, b in self.buttons.items() if isinstance(part, int))
        inside = [] if not any_block else list(INSIDE) if self.inside.value is None else [self.inside.value]
        return (None if inside == list(INSIDE) else inside) if not outside else [*inside, *outside]

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
        shown = view.table(rows, ("part", "size", "may change"), "The parts of the model, from the answer down")
        return view.page("the choice of parts", shown, self.shown.value)

    def __repr__(self) -> str:
        return f"BlockChooser(block={self.block!r}, component={self.component!r})"
