"""Checks the program against modules: the user's own, from which it was captured, and the layers it was raised to.

Capture is no more to be trusted than rewriting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from graphprune.capture import tensor_leaves
from graphprune.capture.execution import Call, Execution, call_operator, default_dtype
from graphprune.capture.export import left_as_it_was
from graphprune.capture.inputs import registered_tensors
from graphprune.capture.outputs import positions
from graphprune.capture.program import Program
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.nodes import Comparison, call_arguments, coarsest_dtype, measured
from graphprune.verifying.samples import shown
from graphprune.verifying.tensors import Lively, like_stored, widened
from graphprune.verifying.verdict import Check

__all__ = [
    "captured_equals_model",
    "holding",
    "layers_equal",
    "layers_hold",
    "lively_values",
    "random_layers_equal",
    "widened_layers",
]


def captured_equals_model(
    program: Program,
    model: nn.Module,
    inputs: list[Any],
    random: Mapping[str, Tensor],
    sizes: Mapping[str, int],
) -> Check:
    """On random parameters and running statistics, in the model's own dtypes; one call of each.

    Args:
        inputs: the leaves of one call, which are of these ``sizes``.
        random: see `lively_values`.
    """
    name = f"captured program equals the model{shown(sizes)}"
    own = {n: t if program.stored[n].kind == "parameter" else t.clone() for n, t in random.items()}
    limit = TOLERANCE[coarsest_dtype(program)]

    def captured(call: Call = call_operator) -> list[Tensor]:
        run = Execution(program.graph, {**program.tensors, **random}, inputs, call)
        return tensor_leaves(run.advance())

    def results() -> tuple[list[Tensor], list[Tensor]]:
        args, kwargs = call_arguments(program, inputs)
        with left_as_it_was(model), holding(model, program, own):
            wanted = positions(model(*args, **kwargs), program.returned)
        return wanted, captured()

    check = measured(name, limit, results, again=captured)
    if check.passed or not check.ran:
        return check
    why = "Python in the model decides on sizes or on values, or capture is wrong"
    return replace(check, detail=why)


def lively_values(program: Program, model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Random values of the tensors that ``program`` reads; weights that capture has folded keep theirs."""
    drawn = Lively(model, seed)
    read = {name: drawn[name] for name in sorted(set(drawn) & set(program.attributes.values()))}
    held = like_stored(read, program.stored)
    return {name: held[name] for name in read}


@contextmanager
def holding(model: nn.Module, program: Program, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """The user's module with ``tensors`` in the place of its own, which come back whatever happens.

    Not `torch.func.functional_call`: it leaves a module that is registered twice with what it was lent.
    """
    first = {name: item.name for item in program.stored.values() for name in item.names}
    own: dict[tuple[int, str], tuple[dict[str, Any], str, Any]] = {}
    try:
        for module_name, module in model.named_modules(remove_duplicate=False):
            for registry in (module._parameters, module._buffers):
                for local, tensor in registry.items():
                    name = first.get(f"{module_name}.{local}" if module_name else local)
                    if name is not None and name in tensors and (id(registry), local) not in own:
                        own[id(registry), local] = (registry, local, tensor)
                        registry[local] = tensors[name]
        yield
    finally:
        for registry, local, tensor in own.values():
            registry[local] = tensor


def layers_equal(
    name: str,
    program: Program,
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    compared: Comparison,
    made: Sequence[Tensor] = (),
) -> Check:
    """The layers' outputs, with ``tensors`` in the place of their own, against the slim program's in ``compared``.

    Parameters are cut off from autograd, which torch's counter of operations stumbles over; buffers are copies, since
    a model may write into them.

    Args:
        made: the layers' outputs on the same, if they have run.
    """
    held = {name: tensors.get(name, parameter).detach() for name, parameter in module.named_parameters()}
    held |= {name: tensors.get(name, buffer).clone() for name, buffer in module.named_buffers()}
    expected = [compared.outputs[name] for name in program.output_names if name in program.values]

    def results() -> tuple[list[Tensor], list[Tensor]]:
        if made:
            return expected, [tensor.detach() for tensor in made]
        args, kwargs = call_arguments(program, compared.inputs)
        given = functional_call(module, held, args, kwargs, tie_weights=True)
        return expected, [tensor.detach() for tensor in tensor_leaves(given)]

    return measured(name, compared.check.limit, results, "the layers", compared.again)


def random_layers_equal(
    program: Program,
    layers: fx.GraphModule,
    drawn: Mapping[str, Tensor],
    compared: Comparison,
    wide: torch.dtype | None,
    made: Sequence[Tensor] = (),
) -> Check:
    """On random tensors too, in float64: the model's own may hide a wrong layer, and so may rounding.

    Args:
        layers: of the slim program, which compute in ``wide``.
        drawn: random tensors by name, in ``wide``.
        compared: the program's results on them.
        wide: float64, or None for the model's own dtypes where an operator has no kernel for that.
        made: see `layers_equal`.
    """
    first = {name: item.name for item in program.stored.values() for name in item.names}
    held = dict(layers.named_parameters()) | dict(layers.named_buffers())
    tensors = {name: drawn[first[name]] for name in held if name in first}
    with default_dtype(wide):
        name = "layers equal the program, random parameters"
        return layers_equal(name, program, layers, tensors, compared, made)


def widened_layers(layers: fx.GraphModule, dtype: torch.dtype) -> fx.GraphModule:
    """The same layers, with ``dtype`` in the place of the floating dtypes that their graph names."""
    graph = deepcopy(layers.graph)
    for node in graph.nodes:
        node.args, node.kwargs = fx.node.map_aggregate(
            (node.args, node.kwargs), lambda leaf: widened(leaf, dtype)
        )
    return fx.GraphModule(layers, graph)


def layers_hold(slim: Program, module: nn.Module) -> Check:
    """Under each name the layers hold the program's very tensor; counters of batches may be new."""
    known = {name: item.tensor for item in slim.stored.values() for name in item.names}
    wrong = [
        name
        for name, tensor in registered_tensors(module).items()
        if not _holds(known.get(name), tensor)
        and not (name.endswith("num_batches_tracked") and name not in known)
    ]
    return Check.without("layers hold the planned tensors", wrong)


def _holds(wanted: Tensor | None, tensor: Tensor) -> bool:
    """Whether it is the very tensor, or its memory as integers."""
    if (
        wanted is None
        or tensor.is_floating_point()
        or not (wanted.is_floating_point() or wanted.is_complex())
    ):
        return wanted is tensor
    same = wanted.data_ptr() == tensor.data_ptr() and wanted.shape == tensor.shape
    return same and wanted.itemsize == tensor.itemsize
