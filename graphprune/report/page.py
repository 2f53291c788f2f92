"""report.html: one file with everything in it, made from a report's dictionary alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from graphprune.ground.files import cached, keep
from graphprune.report.content import content
from graphprune.report.formats import TEXTS

__all__ = ["render"]

Report = Mapping[str, Any]

SPECS = ("network", "cost", "spread", "histogram", "sensitivity", "rounds", "theme")


def render(
    report: Report, title: str, units: Mapping[str, Any] | None = None, sensitivity: Report | None = None
) -> str:
    """The page as HTML, which fetches nothing.

    Args:
        report: of `Result.save`, or `facts` and `inspection` of a model together.
        title: the model's name.
        units: group → kept units, as in a plan's document.
        sensitivity: curves, ``{"metric": name, "groups": {group: [[share removed, figure], ...]}}``, and the whole
            model's figure as ``baseline`` if it is known.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    def breaks(text: str) -> Markup:
        """Long names may be broken after a dot."""
        return Markup("<wbr>").join(re.split(r"(?<=[._/])", text))

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {**TEXTS, "breaks": breaks}
    shown, data = content(report, title, units or {}, sensitivity)
    data["specs"] = {name: json.loads(_read(f"{name}.json")) for name in SPECS}
    return environment.from_string(_read("page.html")).render(
        **shown,
        css=Markup(_read("page.css")),
        script=Markup(_read("page.js")),
        library=Markup(_vega_script()),
        data=Markup(_embedded(data)),
    )


def _read(name: str) -> str:
    return (files("graphprune.report") / "page" / name).read_text(encoding="utf-8")


def _embedded(data: Any) -> str:
    """JSON that cannot end its script element, whatever the names in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _vega_script() -> str:
    """Vega, Vega-Lite and vega-embed as one script, from the installed vl-convert (BSD-3-Clause).

    It has about 0.9 MB, defines ``vegaEmbed`` and fetches nothing. Bundling takes seconds, so its result is kept.
    """
    kept = cached(f"vega-{version('vl-convert-python')}.js")
    try:
        return kept.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        import vl_convert

        bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
        script = "(() => {" + bundle.replace("</script", "<\\/script") + "})();"
        keep(kept, script)
        return script
