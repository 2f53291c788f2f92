"""What a slim model must equal, found by running the user's module, and how near it must come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fuzz_tape import Masked, Unknown, play
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import graphprune as gp

__all__ = ["Finding", "compare", "copied", "masked_original", "oracle", "said", "tolerance_of"]

TOLERANCE = 1e-8  # relative to the largest value, in float64


class Finding(Exception):
    """A fault of a slim model: its kind, and what was seen."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


def masked_original(wide: nn.Module, inputs: Sequence[Tensor], result: gp.Result) -> Masked:
    """The original, with what the plan of a result removes held at zero.

    Raises:
        Unknown: an operator has no definition for removed elements.
    """
    stored, kept = result.graph.program.stored, result.plan.kept
    literals = [(stored[name].tensor, dims) for name, dims in kept.items() if stored[name].kind == "constant"]
    return play(wide, inputs, kept, literals)


def oracle(wide: nn.Module, inputs: Sequence[Tensor], returned: Any, result: gp.Result) -> Masked:
    """The masked original, which what a slim model has ``returned`` must equal."""
    masked = masked_original(wide, inputs, result)
    found = [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]
    try:
        compare("outputs", masked.outputs, found, tolerance_of(wide))
    except Finding as error:
        if masked.ties:
            raise Unknown("positions among equal values: which comes first no definition says") from error
        if made := _made_by_numbers(result):
            raise Unknown(f"which units of {made} are removed, that a number of the code makes") from error
        raise
    return masked


def _made_by_numbers(result: gp.Result) -> str:
    """A group that is cut, and that a number such as that of ``repeat`` makes: no tensor says what is kept."""
    stored = result.graph.program.stored
    for group in result.graph.groups:
        said = any(
            member.role == "produces" or stored[member.tensor].kind == "constant" for member in group.members
        )
        if not said and result.plan.groups[group.name].shape[-1] < group.size:
            return group.name
    return ""


def tolerance_of(wide: nn.Module) -> float:
    """A parametrised weight is stored as it was computed, in float32."""
    computed = any("parametrizations" in name for name, _ in wide.named_parameters())
    return 1e-5 if computed else TOLERANCE


def compare(
    what: str, expected: Sequence[Tensor], given: Sequence[Tensor], tolerance: float = TOLERANCE
) -> None:
    shapes = [tuple(item.shape) for item in expected], [tuple(item.shape) for item in given]
    if shapes[0] != shapes[1]:
        raise Finding("wrong", f"{what}: shapes {shapes[1]}, not {shapes[0]}")
    for place, (one, other) in enumerate(zip(expected, given, strict=True)):
        one, other = one.detach().double(), other.detach().double()
        same = (one == other) | (one.isnan() & other.isnan())  # such as the slope of a root at 0
        scale = float(one[one.isfinite()].abs().max()) if one.isfinite().any() else 0.0
        error = 0.0 if same.all() else float((one - other)[~same].abs().max())
        if not error <= tolerance * max(scale, 1e-3):
            raise Finding("wrong", f"{what} {place}: {error:.1e} of {scale:.1e}")


def copied(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [item.clone() for item in inputs]


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]
