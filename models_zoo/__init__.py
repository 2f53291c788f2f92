"""Models to prune: textbook ones, small pretrained ones that travel in wheels, and torchvision's and timm's.

    model = models_zoo.load("mtcnn_rnet")
    figures = models_zoo.get("mtcnn_rnet").evaluate(model)

Importing this package imports torch and nothing heavier.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from graphprune.ground.errors import InputError, WeightsError
from models_zoo import crepe, digits, efficientnet, minilm, mnist, mtcnn, textbook, wheels
from models_zoo.registry import Entry, lookup, merge

__all__ = ["ENTRIES", "Entry", "get", "load", "names"]

ENTRIES: Mapping[str, Entry] = merge(
    (
        textbook.ENTRIES,
        digits.ENTRIES,
        mnist.ENTRIES,
        mtcnn.ENTRIES,
        efficientnet.ENTRIES,
        crepe.ENTRIES,
        minilm.ENTRIES,
    )
)


def names() -> tuple[str, ...]:
    """The names of all entries, in the table's order."""
    return tuple(ENTRIES)


def get(name: str) -> Entry:
    """The entry of that name.

    Raises:
        InputError: there is none; the error names the nearest ones.
    """
    return lookup(ENTRIES, name)


def load(name: str, weights: str = "published") -> nn.Module:
    """Build a model of the zoo, in eval mode.

    Args:
        name: an entry's name.
        weights: "published", or "none" for random ones.

    Raises:
        InputError: no such name, or another word for `weights`.
        WeightsError: a wheel is missing, or the entry has no published weights.
    """
    entry = get(name)
    if weights not in ("published", "none"):
        raise InputError(f"weights {weights!r} is not a choice", "use 'published' or 'none'")
    if weights == "published" and entry.load_weights is None:
        raise WeightsError(f"the model {name} has no published weights", "use --weights none for random ones")
    wheels.require(*entry.packages)
    model = entry.build()
    if weights == "published" and entry.load_weights is not None:
        entry.load_weights(model)
    return model.eval()
