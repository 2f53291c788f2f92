"""Spells ATen operators as a reader of PyTorch would: ``x + y``, ``torch.cat``, ``x.view(...)``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from graphprune.capture.operators import arguments

__all__ = ["spell"]

_OPERATORS: dict[str, Callable[..., Any]] = {
    "aten.add.Tensor": operator.add,
    "aten.sub.Tensor": operator.sub,
    "aten.mul.Tensor": operator.mul,
    "aten.div.Tensor": operator.truediv,
    "aten.matmul.default": operator.matmul,
    "aten.neg.default": operator.neg,
    "aten.pow.Tensor_Scalar": operator.pow,
}


def _same_name(overloads: str) -> dict[str, str]:
    """Overloads of ATen whose function or method is called as they are: ``aten.cat.default`` → ``cat``."""
    return {f"aten.{overload}": overload.partition(".")[0] for overload in overloads.split()}


_METHODS = {
    **_same_name(
        "view.default reshape.default expand.default expand_as.default permute.default transpose.int "
        "contiguous.default unsqueeze.default squeeze.dim squeeze.dims flatten.using_ints unflatten.int "
        "chunk.default split.Tensor"
    ),
    "aten._unsafe_view.default": "reshape",
    "aten.split_with_sizes.default": "split",
    "aten.sym_size.int": "size",
}
_TORCH_NAMES = _same_name(
    "cat.default stack.default relu.default sigmoid.default tanh.default softmax.int exp.default sqrt.default "
    "rsqrt.default abs.default addmm.default bmm.default mm.default where.self clamp.default roll.default "
    "einsum.default baddbmm.default log.default sin.default cos.default"
)
_FUNCTIONAL_NAMES = _same_name(
    "linear.default gelu.default silu.default hardswish.default hardsigmoid.default layer_norm.default "
    "scaled_dot_product_attention.default max_pool2d.default avg_pool2d.default adaptive_avg_pool2d.default "
    "pad.default"
)
_FUNCTIONS = {
    **{target: getattr(torch, name) for target, name in _TORCH_NAMES.items()},
    **{target: getattr(F, name) for target, name in _FUNCTIONAL_NAMES.items()},
}
# how many of an operator's arguments the public function has; the rest chooses a kernel
_PUBLIC = {"aten.layer_norm.default": 5}


# upsampling with sizes or factors → the mode of F.interpolate
_MODES = {
    **{f"aten.upsample_nearest{rank}d.vec": "nearest" for rank in (1, 2, 3)},
    **{f"aten._upsample_nearest_exact{rank}d.vec": "nearest-exact" for rank in (1, 2, 3)},
    "aten.upsample_linear1d.vec": "linear",
    "aten.upsample_bilinear2d.vec": "bilinear",
    "aten.upsample_bicubic2d.vec": "bicubic",
    "aten.upsample_trilinear3d.vec": "trilinear",
}


def spell(graph: fx.Graph, node: fx.Node, mapping: Mapping[fx.Node, Any]) -> Any:
    """Adds ``node`` to ``graph`` in its most readable form; ``mapping`` gives the new nodes of its inputs."""
    target = str(node.target)
    given = _without_defaults(node)[: _PUBLIC.get(target)]
    args, kwargs = fx.node.map_arg((given, dict(node.kwargs)), mapping.__getitem__)
    if kwargs.get("pin_memory") is False:  # it says nothing
        kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"}
    if target in ("aten.dropout.default", "aten.feature_dropout.default", "aten.alias.default"):
        return args[0]  # a dropout without probability; the others became layers
    if target in _OPERATORS and not kwargs and len(args) == (1 if target == "aten.neg.default" else 2):
        return graph.call_function(_OPERATORS[target], args)
    if target in ("aten.slice.Tensor", "aten.select.int"):
        return _index(graph, node, args)
    if target in _MODES:
        return _interpolation(graph, node, mapping)
    if target in _METHODS:
        return graph.call_method(_METHODS[target], args, kwargs)
    return graph.call_function(_FUNCTIONS.get(target, node.target), args, kwargs)


def _without_defaults(node: fx.Node) -> tuple[Any, ...]:
    """Positional arguments without trailing ones that only repeat the schema's defaults."""
    args = list(node.args)
    schema = getattr(node.target, "_schema", None)
    while args and schema is not None:
        last = schema.arguments[len(args) - 1]
        if not last.has_default_value() or isinstance(args[-1], fx.Node) or args[-1] != last.default_value:
            break
        args.pop()
    return tuple(args)


def _interpolation(graph: fx.Graph, node: fx.Node, mapping: Mapping[fx.Node, Any]) -> fx.Node:
    """``F.interpolate(x, [height, width], mode="bilinear")``."""
    given = fx.node.map_arg(arguments(node), mapping.__getitem__)
    options = {
        "size": given["output_size"],
        "scale_factor": given["scale_factors"],
        "mode": None if (mode := _MODES[str(node.target)]) == "nearest" else mode,
        "align_corners": given.get("align_corners") or None,
    }
    options = {name: value for name, value in options.items() if value is not None}
    return graph.call_function(F.interpolate, (given["input"],), options)


def _index(graph: fx.Graph, node: fx.Node, args: tuple[Any, ...]) -> fx.Node:
    """``x[:, 2:5]`` or ``x[:, 0]``."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim = (args[1] if len(args) > 1 else 0) % source.meta["val"].dim()
    if str(node.target) == "aten.select.int":
        chosen: Any = args[2]
    else:
        given = list(args[2:])
        start, end, step = given + [None, None, 1][len(given) :]
        end = None if isinstance(end, int) and end > 2**62 else end
        chosen = slice(start or None, end, None if step == 1 else step)
    return graph.call_function(operator.getitem, (args[0], (*[slice(None)] * dim, chosen)))
