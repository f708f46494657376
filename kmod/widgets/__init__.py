"""Editing by hand, in a notebook: `EditLab`, and two small widgets for chapters. Needs ipywidgets
(`pip install kmod[widgets]`); the work is done in `kmod.lab`, which needs none.
"""

try:
    import ipywidgets as _  # noqa: F401
except ImportError as error:
    raise ImportError("the widgets need ipywidgets: pip install 'kmod[widgets]'") from error

from .lab import EditLab
from .small import BlockChooser, DeltaExplorer

__all__ = ["BlockChooser", "DeltaExplorer", "EditLab"]
