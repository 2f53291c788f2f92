"""Vega, Vega-Lite and vega-embed as one script, from the installed vl-convert (BSD-3-Clause)."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile

__all__ = ["vega_script"]


@cache
def vega_script() -> str:
    """The script, about 0.9 MB, which defines ``vegaEmbed`` and fetches nothing.

    Bundling takes seconds, so its result is kept in the user's cache, where there is one.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graphprune"
    kept = folder / f"vega-{version('vl-convert-python')}.js"
    try:
        return kept.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        import vl_convert

        bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
        script = "(() => {" + bundle.replace("</script", "<\\/script") + "})();"
        _keep(script, kept)
        return script


def _keep(script: str, path: Path) -> None:
    """Written aside and renamed; a cache that cannot be written is no loss."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(script)
        os.replace(file.name, path)
    except OSError:
        return
