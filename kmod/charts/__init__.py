"""Charts and tables: what the reader of the book sees and moves.

    from kmod import charts
    from kmod.experiments import records
    charts.use_book_renderer()
    rows = charts.rows(records.read("results"), by="block")   # one row for each run, see `kmod.charts.runs`
    charts.tradeoff_curves(rows)      # A_M against A_F∖S over δ, with linked brushing
    charts.heat_map(rows)             # block × δ
    charts.numbers(charts.heat_map(rows))          # the table behind any chart
    charts.table(some_dicts, caption="Before and after")

`tradeoff` and `frontier` draw one grid of δ with a slider. Every chart has a title that states what the rows show, a
subtitle with n and the meaning of its intervals, a description for readers who do not see it, and its numbers as a
table. Colour-blind readers can tell the colours apart, and no meaning rests on colour alone. Text and lines are drawn
in `currentColor`, so that a chart follows the light or dark page around it.
"""

from .change import change_by_part
from .compare import at_best
from .cost import cost_chart
from .heat import heat_map
from .learning import learning_curves
from .page import numbers, titled, to_bundle, use_book_renderer
from .paper import paper_and_ours
from .plane import tradeoff_curves
from .retrieval import retrieval_chart
from .runs import rows
from .size import over_size
from .slider import frontier, tradeoff
from .tables import Table, table
from .theme import PALETTE, SHAPES, theme
from .words import delta_text

__all__ = [
    "PALETTE",
    "SHAPES",
    "Table",
    "at_best",
    "change_by_part",
    "cost_chart",
    "delta_text",
    "frontier",
    "heat_map",
    "learning_curves",
    "numbers",
    "over_size",
    "paper_and_ours",
    "retrieval_chart",
    "rows",
    "table",
    "theme",
    "titled",
    "to_bundle",
    "tradeoff",
    "tradeoff_curves",
    "use_book_renderer",
]
