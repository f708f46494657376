"""Charts and tables: what the reader of the book sees and moves.

    charts.use_book_renderer()
    rows = charts.rows(kmod.experiments.records.read("results"), by="block")   # one row for each run
    chart = charts.tradeoff_curves(rows)
    charts.numbers(chart)                                                      # the table behind any chart

Every chart has a title that states what the rows show, a subtitle with n and the meaning of its intervals, and a
description for readers who do not see it. No meaning rests on colour alone. Text and lines are drawn in `currentColor`,
so that a chart follows the light or dark page around it.
"""

from .change import change_by_part
from .compare import at_best
from .cost import cost_chart
from .editors import editors, over_rates
from .forest import forest
from .heat import heat_map
from .ladder import ladder
from .learning import learning_curves
from .page import numbers, titled, to_bundle, use_book_renderer
from .paper import paper_and_ours
from .plane import tradeoff_curves
from .retrieval import retrieval_chart
from .runs import rows
from .sequence import over_edits
from .size import over_size
from .slider import frontier, tradeoff
from .tables import Table, table
from .theme import PALETTE, SHAPES, theme
from .words import delta_text

__all__ = [
    "PALETTE", "SHAPES", "Table", "at_best", "change_by_part", "cost_chart", "delta_text", "editors", "forest",
    "frontier", "heat_map", "ladder", "learning_curves", "numbers", "over_edits", "over_rates", "over_size",
    "paper_and_ours", "retrieval_chart", "rows", "table", "theme", "titled", "to_bundle", "tradeoff",
    "tradeoff_curves", "use_book_renderer",
]  # fmt: skip
