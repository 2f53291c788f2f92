"""Operators that are others under another name, or others of which an argument is settled: they become those.

``torch.arccos`` is ``torch.acos``, and ``torch.fliplr(x)`` is ``x.flip(1)``. So no table below has to know both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from graphprune.capture.operators import arguments

__all__ = ["SAID", "SAME", "spelt_alike"]

# with the same arguments in the same order; overloads have the same names, unless one is given
SAME = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "chain_matmul": "linalg_multi_dot",
    "clip": "clamp",
    "det": "linalg_det",
    "fix": "trunc",
    "ger": "outer",
    "inverse": "linalg_inv",
    "linalg_diagonal": "diagonal",
    "linalg_matmul": "matmul",
    "matrix_exp": "linalg_matrix_exp",
    "matrix_power": "linalg_matrix_power",
    "moveaxis": "movedim",
    "native_channel_shuffle": "channel_shuffle",
    "negative": "neg",
    "orgqr": "linalg_householder_product",
    "row_stack": "vstack",
    "slogdet": "linalg_slogdet",
    "special_digamma": "digamma",
    "special_erf": "erf",
    "special_erfc": "erfc",
    "special_erfinv": "erfinv",
    "special_exp2": "exp2",
    "special_expm1": "expm1",
    "special_gammainc": "igamma",
    "special_gammaincc": "igammac",
    "special_gammaln": "lgamma",
    "special_i0": "i0",
    "special_log1p": "log1p",
    "special_log_softmax": "log_softmax.int",
    "special_logit": "logit",
    "special_logsumexp": "logsumexp",
    "special_multigammaln": "mvlgamma",
    "special_polygamma": "polygamma",
    "special_psi": "digamma",
    "special_round": "round.decimals",
    "special_sinc": "sinc",
    "special_softmax": "softmax.int",
    "special_xlogy": "xlogy.Tensor",
    "special_xlogy.self_scalar": "xlogy.Scalar_Self",
    "special_xlogy.other_scalar": "xlogy.Scalar_Other",
    "trapz": "trapezoid",
    "unsafe_split": "split",
    "unsafe_split_with_sizes": "split_with_sizes",
}

_aten = torch.ops.aten
_Said = Callable[[fx.Node, int], tuple[Any, tuple[Any, ...]]]


def _flipped(dim: int) -> _Said:
    return lambda node, rank: (_aten.flip.default, (node.args[0], [dim]))


def _split(dim: int) -> _Said:
    """Into so many parts, or at places."""

    def said(node: fx.Node, rank: int) -> tuple[Any, tuple[Any, ...]]:
        parts = node.args[1]
        overload = _aten.tensor_split.sections if isinstance(parts, int) else _aten.tensor_split.indices
        return overload, (node.args[0], parts, min(dim, rank - 1))

    return said


def _diagonal(node: fx.Node, rank: int) -> tuple[Any, tuple[Any, ...]]:
    """Of a matrix its diagonal, of a vector the matrix that has it."""
    return (_aten.diag_embed if rank == 1 else _aten.diagonal).default, tuple(arguments(node).values())


# operator → what the node becomes, given the number of dimensions of its first tensor
SAID: dict[str, _Said] = {
    "fliplr": _flipped(1),
    "flipud": _flipped(0),
    "hsplit": _split(1),
    "vsplit": _split(0),
    "dsplit": _split(2),
    "diag": _diagonal,
}


def spelt_alike(graph: fx.Graph) -> None:
    """Gives every operator that has several names the one that rules and other tables know."""
    for node in graph.nodes:
        if not isinstance(node.target, OpOverload) or node.target.namespace != "aten":
            continue
        name = node.target._schema.name.removeprefix("aten::")
        if name in SAID:
            node.target, node.args = SAID[name](node, node.args[0].meta["val"].dim())
            node.kwargs = {}
        elif (other := _other(name, node.target._overloadname)) is not None:
            _rename(node, other)


def _other(name: str, overload: str) -> OpOverload | None:
    """The operator that ``name`` is another name of; of an in-place operator the in-place one."""
    ending = "_" * name.endswith("_")
    plain = name.removesuffix(ending)
    found = SAME.get(f"{plain}.{overload}") or SAME.get(plain)
    if found is None:
        return None
    known, _, named = found.partition(".")
    packet = getattr(torch.ops.aten, known + ending, None)
    return getattr(packet, named or overload or "default", None)


def _rename(node: fx.Node, other: OpOverload) -> None:
    """Arguments keep their order; their defaults may differ."""
    given = list(arguments(node).values())
    schema = other._schema.arguments
    pairs = list(zip(schema, given, strict=False))
    node.args = tuple(value for argument, value in pairs if not argument.kwarg_only)
    named = {argument.name: value for argument, value in pairs if argument.kwarg_only}
    plain = {argument.name: argument.default_value for argument, _ in pairs}
    node.kwargs = {name: value for name, value in named.items() if value != plain[name]}
    while node.args and (last := schema[len(node.args) - 1]).has_default_value():
        if isinstance(node.args[-1], fx.Node) or node.args[-1] != last.default_value:
            break
        node.args = node.args[:-1]
    node.target = other
