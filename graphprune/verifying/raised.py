"""Checks the layers that a slim program was raised to against the program itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from graphprune.capture import tensor_leaves
from graphprune.capture.program import Program
from graphprune.verifying.nodes import Comparison, call_arguments, largest_error, measured
from graphprune.verifying.reference import widened
from graphprune.verifying.verdict import Check

__all__ = ["layers_equal", "layers_hold", "random_layers_equal"]


def layers_equal(
    name: str, program: Program, module: nn.Module, tensors: Mapping[str, Tensor], compared: Comparison
) -> Check:
    """The layers' outputs, with ``tensors`` in the place of their own, against the slim program's in ``compared``.

    Parameters are cut off from autograd, which torch's counter of operations stumbles over; buffers are copies, since
    a model may write into them.
    """
    held = {name: parameter.detach() for name, parameter in module.named_parameters()} | {**tensors}
    held |= {name: tensors.get(name, buffer).clone() for name, buffer in module.named_buffers()}
    expected = [compared.outputs[name] for name in program.output_names if name in program.values]

    def error() -> float:
        args, kwargs = call_arguments(program, compared.inputs)
        given = functional_call(module, held, args, kwargs, tie_weights=True)
        return largest_error(expected, [tensor.detach() for tensor in tensor_leaves(given)])

    return measured(name, compared.check.limit, error, "the layers")


def random_layers_equal(
    program: Program,
    module: fx.GraphModule,
    drawn: Mapping[str, Tensor],
    compared: Comparison,
    dtype: torch.dtype,
) -> Check:
    """On random tensors too, in float64: the model's own may hide a wrong layer, and so may rounding.

    Args:
        drawn: random tensors by name, in ``dtype``.
        compared: the program's results on them.
        dtype: float64, or the model's own where an operator has no kernel for that.
    """
    wide = _Wide(module, dtype if dtype is torch.float64 else None)
    names = dict(wide.named_parameters()) | dict(wide.named_buffers())
    stored = {f"layers.{name}": i.name for i in program.stored.values() for name in (i.name, *i.ties)}
    tensors = {name: drawn[stored[name]] for name in names if name in stored}
    return layers_equal("layers equal the program, random parameters", program, wide, tensors, compared)


class _Wide(nn.Module):
    """Runs layers in ``dtype``, whatever floating dtypes their graph names; None leaves those as they are."""

    def __init__(self, layers: fx.GraphModule, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.layers = layers
        self.dtype = dtype

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        names = [node.target for node in self.layers.graph.nodes if node.op == "placeholder"]
        return _Widening(self.layers, self.dtype).run(*args, *(kwargs[name] for name in names[len(args) :]))


class _Widening(fx.Interpreter):
    def __init__(self, layers: fx.GraphModule, dtype: torch.dtype | None) -> None:
        super().__init__(layers)
        self.dtype = dtype

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)
        return fx.node.map_aggregate((args, kwargs), lambda leaf: widened(leaf, self.dtype))


def layers_hold(slim: Program, module: nn.Module) -> Check:
    """Under each name the layers hold the program's very tensor; counters of batches may be new."""
    known = {name: item.tensor for item in slim.stored.values() for name in (item.name, *item.ties)}
    held: dict[str, Tensor] = dict(module.named_buffers(remove_duplicate=False))
    held.update(module.named_parameters(remove_duplicate=False))
    wrong = [
        name
        for name, tensor in held.items()
        if known.get(name) is not tensor and not (name.endswith("num_batches_tracked") and name not in known)
    ]
    return Check.without("layers hold the planned tensors", wrong)
