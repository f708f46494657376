"""Plain English sentences that no fact base holds: the text on which general ability is measured."""

from __future__ import annotations

from importlib.resources import files


def general_text() -> list[str]:
    """200 everyday sentences, written for this project; none states a fact of the atlas."""
    return files(__package__).joinpath("general.txt").read_text("utf-8").splitlines()
