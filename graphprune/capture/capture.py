"""Captures a model: export, simplify, and describe the graph to the core."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Sequence
from keyword import iskeyword
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from graphprune.capture.batch import at_batch, batch_problem, choose_prime, free_batch
from graphprune.capture.describe import describe, source_line
from graphprune.capture.export import UNKNOWN, copy_graph, export_program, run_once
from graphprune.capture.inputs import Inputs, input_dimensions, normalise_inputs, registered_tensors
from graphprune.capture.naming import given_names
from graphprune.capture.operators import draws_random
from graphprune.capture.outputs import choose_outputs, output_structure
from graphprune.capture.program import Program, Stored
from graphprune.capture.simplify import (
    fix_squeezes,
    fold_constants,
    fold_parametrised,
    functionalise,
    relax_views,
    remove_dead,
)
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.dynamic import AUTO, Dynamic
from graphprune.ground.errors import CaptureError, InputError, first_line

__all__ = ["capture"]


def capture(
    model: nn.Module, example_inputs: Any, outputs: Sequence[str] = (), dynamic: Dynamic = AUTO
) -> Program:
    """Captures ``model`` as it computes in eval mode.

    The model, its mode, gradients and hooks are left as they were; stored tensors are shared, not copied.

    Args:
        example_inputs: a tensor, a tuple of arguments, a dict of keywords, or ``(args, kwargs)``.
        outputs: names of those outputs that are wanted, see `choose_outputs`; all if there are none.
        dynamic: names of dimensions that vary, see `given_names`; False for the sizes of the example alone.

    Raises:
        InputError: the model does not run on these inputs, or has no such output or input.
        CaptureError: the model cannot be captured; the message names the line.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"{type(model).__name__} is not a torch.nn.Module", "give a module")
    inputs = normalise_inputs(example_inputs)
    given_names(dynamic, input_dimensions(inputs, _parameter_names(model, inputs)))
    if dynamic is False:
        return _capture(model, inputs, outputs)
    try:
        return _capture_any(model, inputs, outputs)
    except CaptureError as error:
        run_once(model, inputs)
        # a library may name its classes of outputs to torch when it makes the first one, but not while torch exports
        if UNKNOWN not in error.message:
            raise
    return _capture_any(model, inputs, outputs)


def _capture_any(model: nn.Module, inputs: Inputs, outputs: Sequence[str]) -> Program:
    """The program for any batch size, or, where that cannot be, for the one of ``inputs``."""
    reason = "the inputs do not share a first dimension"
    batches = {leaf.shape[0] if leaf.dim() else None for leaf in tensor_leaves(inputs)}
    if len(batches) == 1 and None not in batches:
        try:
            return _capture(model, inputs, outputs, choose_prime(model, inputs))
        except (CaptureError, RuntimeError) as error:  # or there is no memory for so many examples
            reason = error.message if isinstance(error, CaptureError) else first_line(error)
    program = _capture(model, inputs, outputs)
    return dataclasses.replace(program, notes=(f"captured for this batch size only: {reason}",))


def _capture(model: nn.Module, inputs: Inputs, wanted: Sequence[str], prime: int = 0) -> Program:
    """The program for the batch size of ``inputs``, or for any: then ``prime`` stands for the batch.

    Raises:
        CaptureError: the model cannot be captured so.
    """
    exported = export_program(model, at_batch(inputs, prime) if prime else inputs)
    stored, first_name = _stored(exported, model)
    graph, placeholders = copy_graph(exported, first_name)
    returned = choose_outputs(graph, exported, wanted)
    remove_dead(graph)
    lifted = {name: item.tensor for name, item in stored.items() if item.kind == "constant"}
    if prime:
        free_batch(graph, placeholders, prime)
        if problem := batch_problem(graph, prime, lifted.values()):
            raise CaptureError(problem)
    stored = fold_parametrised(graph, stored, model)
    for name, tensor in fold_constants(graph, lifted).items():
        stored[name] = Stored(name, "constant", tensor, persistent=False)
    functionalise(graph)
    relax_views(graph)
    fix_squeezes(graph, prime)
    remove_dead(graph)
    _refuse_random(graph)
    stored = _used(graph, stored)
    _refuse_keywords(stored)
    description = describe(graph)
    arguments = pytree.tree_unflatten(list(range(len(placeholders))), exported.call_spec.in_spec)
    parameters = _parameter_names(model, inputs)
    return Program(
        graph=graph,
        stored=stored,
        operations=description.operations,
        values=description.values,
        attributes={node.name: node.target for node in graph.nodes if node.op == "get_attr"},
        inputs=tuple(node.name for node in placeholders),
        arguments=(tuple(arguments[0]), dict(arguments[1])),
        parameters=parameters,
        outputs=output_structure(graph, exported, returned),
        returned=returned,
        example=inputs,
        wanted=tuple(wanted),
        batch_primes=(*([prime] if prime else []), *description.primes),
        dimensions=tuple(
            dataclasses.replace(item, name="batch") if prime and not item.dim else item
            for item in input_dimensions(inputs, parameters)
        ),
        module_types={name: type(module).__name__ for name, module in model.named_modules()},
        model=model,
    )


def _refuse_keywords(names: Iterable[str]) -> None:
    for name in names:
        word = next((part for part in name.split(".") if iskeyword(part)), None)
        if word is not None:
            raise CaptureError(
                f"{name}: {word!r} is a keyword of Python, which torch.fx cannot write into a program",
                f"call the module or tensor something else, such as {word}_",
            )


def _refuse_random(graph: fx.Graph) -> None:
    """What differs from call to call cannot be compared with anything."""
    for node in graph.nodes:
        if draws_random(node):
            raise CaptureError(
                f"the model draws random numbers in eval mode: {node.target} ({source_line(node) or node.name})",
                "give them as an input, or switch them off in eval mode (F.dropout(x, p, self.training))",
            )


def _used(graph: fx.Graph, stored: dict[str, Stored]) -> dict[str, Stored]:
    """Constants that folding made superfluous are forgotten; parameters and buffers are the user's."""
    read = {node.target for node in graph.nodes if node.op == "get_attr"}
    return {name: item for name, item in stored.items() if name in read or item.kind != "constant"}


def _parameter_names(model: nn.Module, inputs: Inputs) -> tuple[str, ...]:
    """Names for the positional arguments, as the model's ``forward`` spells them."""
    parameters = inspect.signature(model.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    count = len(inputs[0])
    names += [f"input_{index}" for index in range(len(names), count)]
    return tuple(names[:count])


def _stored(exported: ExportedProgram, model: nn.Module) -> tuple[dict[str, Stored], dict[str, str]]:
    """Every stored tensor under its first name, and the first name of each name."""
    signature = exported.graph_signature
    held = {**exported.constants, **exported.state_dict}
    kinds = dict.fromkeys(signature.parameters, "parameter") | dict.fromkeys(signature.buffers, "buffer")
    lifted = [name for name, value in exported.constants.items() if isinstance(value, torch.Tensor)]
    kinds = {**kinds, **{name: "constant" for name in lifted if name not in kinds}}
    # the model's own tensors, and all names under which it registers them
    own = registered_tensors(model)
    names: dict[int, list[str]] = {}
    for name, tensor in own.items():
        names.setdefault(id(tensor), []).append(name)
    stored: dict[str, Stored] = {}
    first: dict[str, str] = {}
    for name, kind in kinds.items():
        tensor = own[name] if name in own else held[name]
        same = names.get(id(tensor), [name])
        first[name] = same[0]
        if same[0] not in stored:
            persistent = kind == "parameter" or same[0] in exported.state_dict
            stored[same[0]] = Stored(same[0], kind, tensor, persistent, tuple(same[1:]))
    return stored, first
