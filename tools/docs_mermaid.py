"""Hooks of mkdocs: the site brings the script that draws its pictures, so that it needs no other site.

The theme draws ```mermaid blocks with a script of Mermaid's, which it fetches unless the page has loaded one.
"""

from __future__ import annotations

from importlib.resources import files as resources
from typing import Any

from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

SCRIPT = "assets/javascripts/mermaid.js"


def on_files(files: Any, config: Any) -> Any:
    """Adds the script, which the package mermaidx brings; it is Mermaid's own, MIT licence."""
    content = (resources("mermaidx") / "assets" / "mermaid.js").read_text(encoding="utf-8")
    files.append(File.generated(config, SCRIPT, content=content))
    return files


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Loads it on pages that have pictures; it is large."""
    if 'class="mermaid"' not in output:
        return output
    return output.replace(
        "</head>", f'<script src="{get_relative_url(SCRIPT, page.url)}"></script></head>', 1
    )
