"""Names of models for the shell's completion, found without importing torch or what is built on it.

torchvision and timm mark each function that makes a model, so that their source is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

__all__ = ["ZOO", "complete_model"]

# as in models_zoo, which imports torch
ZOO = (
    "mlp",
    "convnet",
    "digits_resnet",
    "digits_cnn_mnist",
    "mtcnn_rnet",
    "mtcnn_onet",
    "efficientnet_lite0",
    "crepe_tiny",
    "crepe_full",
    "minilm",
)
LIBRARIES = ("torchvision", "timm")
_MARKED = re.compile(
    r"""^@register_model(?:\((?:name=["'](?P<name>\w+)["'])?\))?$.*?^def\ (?P<function>\w+)""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


def complete_model(incomplete: str) -> list[str]:
    """What MODEL may be that begins so: with the source before it where that is being typed, bare otherwise."""
    found: Iterable[str] = (f"{source}:{name}" for source in ("zoo", *LIBRARIES) for name in _names(source))
    if ":" not in incomplete:
        found = chain(
            dict.fromkeys(name.partition(":")[2] for name in found),
            ("zoo:", "torchvision:", "timm:", "hf:", "hf-hub:"),
        )
    return [name for name in found if name.startswith(incomplete)]


def _names(source: str) -> Iterable[str]:
    """Of a library that is not installed none; else in the order of their names."""
    if source == "zoo":
        return ZOO
    return sorted({match["name"] or match["function"] for match in _marked(source)})


def _marked(library: str) -> Iterator[re.Match[str]]:
    spec = find_spec(library)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder, "models").rglob("*.py"):
            yield from _MARKED.finditer(path.read_text(encoding="utf-8"))
