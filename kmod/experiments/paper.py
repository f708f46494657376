"""Figures of the paper, for comparison only: Zhu et al. 2020, "Modifying Memories in Transformer Models" (arXiv
2012.00363). All are recalled, not checked against its text; they are shown as such and never tested against.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A row of the paper's tables, on T-REx: fractions of 1; None where no figure is recalled. `start` is the paper's
    word: its FT is pretrained, then fine-tuned, which the settings here call PT+FT."""

    model: str
    start: str
    method: str
    where: str
    A_M: float | None = None
    A_FS: float | None = None
    delta_A_FS: float | None = None
    delta: float | None = None
    n: int = 32

    @property
    def A_mean(self) -> float | None:
        """Ā, where both of its parts are known; the paper's tables do not print it."""
        return None if self.A_M is None or self.A_FS is None else (self.A_M + self.A_FS) / 2


BEST = (  # the best block and radius, |M| = 32, constrained
    Figure("BERT-Base", "PT", "FTM", "block 0", 0.7125, 0.1769),
    Figure("BERT-Base", "PT", "FTA", "block 0", 0.7000, 0.1753),
    Figure("BERT-Base", "FT", "FTM", "block 11", 0.7784, 0.4340),
    Figure("BERT-Base", "FT", "FTA", "block 11", 0.7431, 0.4647),
    Figure("BERT-Large", "FT", "FTM", "block 23", 0.7280, 0.4470),
    Figure("ALBERT-XXLarge", "FT", "FTM", "all blocks", 0.7542, 0.2556),
    Figure("FaE", "FT", "UPDATE + FTM", "AWT", 0.7500, 0.5738, -0.030),
)
RADII = (  # BERT-Base from pretrained, block 0
    Figure("BERT-Base", "PT", "FTM", "block 0", 0.469, None, -0.117, 1e-3),
    Figure("BERT-Base", "PT", "FTM", "block 0", 0.831, None, -0.236, 2e-3),
    Figure("BERT-Base", "PT", "FTM", "block 0", 0.938, None, -0.249, 4e-3),
)
SYMBOLIC = (Figure("FaE", "FT", "UPDATE", "symbolic links alone", 0.4688, None, 0.0),)
BEFORE = {"BERT-Base, pretrained": 0.2885, "BERT-Base, fine-tuned": 0.5050, "BERT-Large, fine-tuned": 0.5139,
          "ALBERT-XXLarge, fine-tuned": 0.4796, "FaE, fine-tuned": 0.6038}  # fmt: skip


def rows(figures: tuple[Figure, ...]) -> list[dict]:
    """As rows of a table, in percent (a difference in points), marked as recalled; with a column δ if any has one."""

    def text(share: float | None, form: str = ".4g", unit: str = "%") -> str:
        return "not known" if share is None else f"~{100 * share:{form}} {unit}"

    rows = []
    for f in figures:
        row = {"model": f.model, "start": f.start, "method": f.method, "tuned": f.where}
        if any(other.delta is not None for other in figures):
            row["δ"] = "not known" if f.delta is None else f"{f.delta:.0e}".replace("e-0", "e-")
        lost = text(f.delta_A_FS, "+.1f", "points")
        rows.append(row | {"A_M": text(f.A_M), "A_F∖S": text(f.A_FS), "ΔA_F∖S": lost, "Ā": text(f.A_mean)})
    return rows
