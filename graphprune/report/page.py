"""report.html: one file with everything in it, made from a report's dictionary alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from graphprune.ground.errors import InputError
from graphprune.ground.files import cached, keep
from graphprune.report.content import content, sweep_content
from graphprune.report.formats import TEXTS

__all__ = ["lacks_packages", "render", "render_sweep"]

Report = Mapping[str, Any]
Row = dict[str, Any]

SPECS = ("network", "cost", "spread", "histogram", "sensitivity", "rounds", "tradeoff", "theme")


def lacks_packages() -> InputError | None:
    """Why no page can be made here; None where it can."""
    if find_spec("vl_convert") is not None:
        return None
    return InputError("the package vl-convert-python is not installed", "pip install 'graphprune[report]'")


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

    Raises:
        InputError: a package that draws it is not installed.
    """
    shown, data = content(report, title, units or {}, sensitivity)
    return _filled("page.html", ("base.js", "page.js"), shown, data)


def render_sweep(sweep: Report) -> str:
    """The page of a sweep as HTML, which fetches nothing.

    Args:
        sweep: see `graphprune.report.tradeoff.SweepDocument`.

    Raises:
        InputError: a package that draws it is not installed.
    """
    shown, data = sweep_content(sweep)
    return _filled("sweep.html", ("base.js",), shown, data)


def _filled(template: str, scripts: Sequence[str], shown: Row, data: Row) -> str:
    """A template with its variables, and the document that its scripts read."""
    if (lacking := lacks_packages()) is not None:
        raise lacking
    from jinja2 import Environment, FunctionLoader
    from markupsafe import Markup

    def breaks(text: str) -> Markup:
        """Long names may be broken after a dot."""
        return Markup("<wbr>").join(re.split(r"(?<=[._/])", text))

    environment = Environment(
        loader=FunctionLoader(_read), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {**TEXTS, "breaks": breaks}
    data = {**data, "specs": {name: json.loads(_read(f"{name}.json")) for name in SPECS}}
    script = "".join(map(_read, scripts))
    return environment.get_template(template).render(
        **shown,
        css=Markup(_read("page.css")),
        script=Markup(f'"use strict";\n(async () => {{\n{script}  root.dataset.ready = "true";\n}})();\n'),
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
