"""A Sphinx extension that puts Vega, which draws the charts, into the book, so that no page needs the network.

vl-convert-python (a pinned requirement) carries Vega, Vega-Lite and Vega-Embed in one bundle. The bundle is
written to `book/_static/vendor/vega.js`, which git ignores, and written again when its version changes.
`python book/_ext/vendor.py` does the same by hand.
"""

from importlib.metadata import version
from pathlib import Path

import altair
import vl_convert

TARGET = Path(__file__).parents[1] / "_static" / "vendor" / "vega.js"


def vendor(target: Path = TARGET) -> bool:
    """Write the bundle to `target` unless it is there already; return whether it was written."""
    lite = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    header = f"/* Vega-Lite {lite}, from vl-convert-python {version('vl-convert-python')}; BSD-3-Clause */\n"
    if target.exists():
        with target.open(encoding="utf8") as file:
            if file.readline() == header:
                return False
    bundle = vl_convert.javascript_bundle(vl_version=lite)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In a function of its own, the bundle leaves only vega, vegaLite and vegaEmbed on the page.
    target.write_text(f"{header}(() => {{{bundle}\n}})();\n", encoding="utf8")
    return True


def setup(app):
    app.connect("config-inited", lambda app, config: vendor() and None)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    print(TARGET if vendor() else f"{TARGET} is up to date")
