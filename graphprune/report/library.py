"""Vega, Vega-Lite and vega-embed as one script, from the installed vl-convert (BSD-3-Clause)."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from graphprune.ground.files import written_aside

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
        with suppress(OSError):  # a cache that cannot be written is no loss
            folder.mkdir(parents=True, exist_ok=True)
            with written_aside(kept) as draft:
                draft.write_text(script, encoding="utf-8")
        return script
