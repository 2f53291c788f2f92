"""Checks the captured program against the user's own module: capture is no more to be trusted than rewriting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from graphprune.capture import tensor_leaves
from graphprune.capture.execution import run
from graphprune.capture.export import left_as_it_was
from graphprune.capture.outputs import positions
from graphprune.capture.program import Program
from graphprune.verifying.nodes import TOLERANCE, call_arguments, coarsest_dtype, largest_error, measured
from graphprune.verifying.randomised import Lively
from graphprune.verifying.verdict import Check

__all__ = ["captured_equals_model"]


def captured_equals_model(program: Program, model: nn.Module, inputs: list[Any], seed: int) -> Check:
    """On random parameters and running statistics, in the model's own dtypes; one call of each.

    Args:
        inputs: the leaves of one call; their first size is the batch.
    """
    batch = next((leaf.shape[0] for leaf in inputs if isinstance(leaf, Tensor) and leaf.dim()), 1)
    name = f"captured program equals the model, batch {batch}"
    held = Lively(model, seed)
    # weights that capture has folded keep their values
    random = {name: held[name] for name in sorted(set(held) & set(program.attributes.values()))}
    own = {n: t if program.stored[n].kind == "parameter" else t.clone() for n, t in random.items()}
    limit = TOLERANCE[coarsest_dtype(program)]

    def error() -> float:
        args, kwargs = call_arguments(program, inputs)
        with left_as_it_was(model), _holding(model, program, own):
            wanted = positions(model(*args, **kwargs), program.returned)
        given = run(program.graph, {**program.tensors, **random}, inputs)
        return largest_error(wanted, tensor_leaves(given))

    check = measured(name, limit, error)
    if check.passed or check.detail:
        return check
    why = "Python in the model decides on the batch size or on values, or capture is wrong"
    return replace(check, detail=why)


@contextmanager
def _holding(model: nn.Module, program: Program, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """The user's module with ``tensors`` in the place of its own, which come back whatever happens.

    Not `torch.func.functional_call`: it leaves a module that is registered twice with what it was lent.
    """
    first = {name: item.name for item in program.stored.values() for name in (item.name, *item.ties)}
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
