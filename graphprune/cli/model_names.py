"""Names of models for the shell's completion, found without importing torch or what is built on it.

torchvision and timm mark each function that makes a model, so that their source is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

__all__ = ["ZOO", "complete_model", "library_names"]

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
            dict.fromkeys(name.partition(":")[2] for name in found), ("zoo:", "torchvision:", "timm:")
        )
    return [name for name in found if name.startswith(incomplete)]


def _names(source: str) -> list[str]:
    return list(ZOO) if source == "zoo" else library_names(source)


def library_names(library: str) -> list[str]:
    """Models of torchvision or timm in the order of their names; none if it is not installed."""
    return sorted(
        {match["name"] or match["function"] for text in _sources(library) for match in _MARKED.finditer(text)}
    )


def _sources(library: str) -> Iterator[str]:
    spec = find_spec(library)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder, "models").rglob("*.py"):
            yield path.read_text(encoding="utf-8")
