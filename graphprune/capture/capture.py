"""Captures a model: export, simplify, and describe the graph to the core."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from keyword import iskeyword
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from graphprune.capture.asked import given_names, may_vary
from graphprune.capture.batch import choose_prime
from graphprune.capture.casting import without_autocast
from graphprune.capture.checking import Check, DoesNotVaryError, Runner
from graphprune.capture.deciding import require_decisions, require_dimensions
from graphprune.capture.describe import describe, source_line
from graphprune.capture.detaching import drop_needless
from graphprune.capture.dimensions import Dimension
from graphprune.capture.export import UNKNOWN, copy_graph, export_program, run_once
from graphprune.capture.forgetting import forgotten_sizes, plain_numbers, tried_runs, unguarded_sizes
from graphprune.capture.freeing import free_literals, free_multiples, in_multiples, settle_constants
from graphprune.capture.inputs import (
    Inputs,
    input_dimensions,
    normalise_inputs,
    registered_tensors,
    with_shapes,
)
from graphprune.capture.lazy import has_values
from graphprune.capture.naming import assignments, described
from graphprune.capture.objects import numbered
from graphprune.capture.operators import draws_random
from graphprune.capture.outputs import Results, choose_outputs, output_structure
from graphprune.capture.program import Program, Stored
from graphprune.capture.recast import casts_of
from graphprune.capture.searching import find_varying
from graphprune.capture.simplify import (
    fix_squeezes,
    fold_constants,
    fold_parametrised,
    functionalise,
    make_differentiable,
    relax_views,
    remove_dead,
)
from graphprune.capture.single import Beside, allow_single
from graphprune.capture.synonyms import spelt_alike
from graphprune.capture.tables import Tables
from graphprune.capture.unsuited import refuse_unsuited
from graphprune.capture.varying import Varying, together
from graphprune.capture.watching import Watch, watched
from graphprune.ground.dynamic import AUTO, Declared, Dynamic
from graphprune.ground.errors import CaptureError, InputError, first_line
from graphprune.ground.garbage import collected_later

__all__ = ["capture"]


@collected_later()
def capture(
    model: nn.Module, example_inputs: Any, outputs: Sequence[str] = (), dynamic: Dynamic = AUTO
) -> Program:
    """Captures ``model`` as it computes in eval mode.

    The model, its mode, gradients and hooks are left as they were; stored tensors are shared, not copied.

    Args:
        example_inputs: a tensor, a tuple of arguments, a dict of keywords, or ``(args, kwargs)``.
        outputs: names of those outputs that are wanted, see `choose_outputs`; all if there are none.
        dynamic: which sizes of the inputs vary: "auto" for all that the model lets vary, names for some of them
            (``{"x": {2: "height"}}``), False for none.

    Raises:
        InputError: the model does not run on these inputs, or has no such output or input.
        CaptureError: the model cannot be captured; the message names the line.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"{type(model).__name__} is not a torch.nn.Module", "give a module")
    refuse_unsuited(model)
    inputs = normalise_inputs(example_inputs)
    try:
        return _capture_any(model, inputs, outputs, dynamic)
    except CaptureError as error:
        run_once(model, inputs)
        # a library may name its classes of outputs to torch when it makes the first one, but not while torch exports
        if UNKNOWN not in error.message:
            raise
    return _capture_any(model, inputs, outputs, dynamic)


def _capture_any(model: nn.Module, inputs: Inputs, outputs: Sequence[str], dynamic: Dynamic) -> Program:
    """The program for all sizes that the model lets vary and the graph follows."""
    dimensions = input_dimensions(inputs, _parameter_names(model, inputs))
    names = given_names(dynamic, dimensions)
    varying = find_varying(model, inputs, may_vary(dynamic, dimensions), names)
    name = partial(described, dimensions, names, must_vary=not isinstance(dynamic, Declared))
    while True:
        runs = tried_runs(varying)
        watch = Watch(expected=tuple(list(zip(ran.calls, ran.numbers, strict=True)) for ran in runs))
        try:
            return _capture(model, inputs, outputs, varying, watch, name)
        except DoesNotVaryError as error:
            varying = varying.without(error.reasons, plain_numbers(watch))
        except (CaptureError, RuntimeError) as error:  # or there is no memory for so many examples
            if not varying.sizes:
                raise
            reason = error.message if isinstance(error, CaptureError) else first_line(error)
            varying = varying.without(dict.fromkeys(varying.sizes[0].places, reason))


def _capture(
    model: nn.Module,
    inputs: Inputs,
    wanted: Sequence[str],
    varying: Varying,
    watch: Watch,
    describe_sizes: Callable[[Varying], tuple[Dimension, ...]],
) -> Program:
    """The program for the sizes that vary.

    Raises:
        CaptureError: the model cannot be captured so.
        DoesNotVaryError: the graph does not follow some of these sizes.
    """
    results = Results()
    prime = choose_prime(model, inputs) if varying.batch else 0
    traced = {**together(varying.sizes, "traced"), **(varying.batch.at(prime) if varying.batch else {})}
    watch.casts = casts_of(varying, traced)
    with without_autocast() as casts, watched(model, watch):
        exported = export_program(model, with_shapes(inputs, traced) if traced else inputs, results)
    if casts:
        run_once(model, inputs)  # whether dtypes fit without autocast, which no run without data tells
    if reasons := forgotten_sizes(varying, watch):
        raise DoesNotVaryError(reasons)
    stored, first_name = _stored(exported, model)
    graph, placeholders = copy_graph(exported, first_name)
    left_out = results.left_out(wanted, inputs)
    returned = choose_outputs(graph, exported, wanted, results, left_out)
    sizes = free_literals(graph, watch)
    if varying.batch:
        place, dim = varying.batch.places[0]
        free_multiples(graph, sizes, sizes.leaf(placeholders[place], dim), prime)
    relax_views(graph)
    runner = Runner(graph, placeholders, traced, varying.trial.known)
    far = runner.far(varying.sizes)
    named = partial(far.named, dimensions=describe_sizes(varying))
    require_decisions(watch.log.decisions.values(), sizes, named)
    settle_constants(graph, sizes, far.constant(sizes.reads))
    remove_dead(graph)
    sizes.forget_removed()
    varying = Check(runner, returned, exported.call_spec.out_spec.num_leaves).settle(varying)
    if reasons := unguarded_sizes(varying, watch, runner):
        raise DoesNotVaryError(reasons)
    tensors = {name: item.tensor for name, item in stored.items()}
    singles = allow_single(Beside(graph, tensors, model, inputs, returned), runner, varying)
    if varying.batch and not in_multiples(graph, sizes, prime):
        prime = 0
        runner.describe_at(varying.batch.at(varying.batch.size))
    dimensions = describe_sizes(varying)
    require_dimensions(dimensions, placeholders, sizes)
    Tables(graph, tensors, runner).require(varying, placeholders, dimensions, sizes)
    stored = fold_parametrised(graph, stored, model)
    lifted = {name: item.tensor for name, item in stored.items() if item.kind == "constant"}
    for name, tensor in fold_constants(graph, lifted).items():
        stored[name] = Stored(name, "constant", tensor, persistent=False)
    functionalise(graph)
    make_differentiable(graph)
    drop_needless(graph, [name for name, item in stored.items() if item.kind == "parameter"])
    spelt_alike(graph)
    fix_squeezes(graph, far.varies)
    remove_dead(graph)
    _refuse_random(graph)
    stored = _used(graph, stored)
    _refuse_keywords(stored)
    _require_values(stored, model)
    description = describe(graph, stored)
    return Program(
        graph=graph,
        stored=stored,
        operations=description.operations,
        values=description.values,
        attributes={node.name: node.target for node in graph.nodes if node.op == "get_attr"},
        inputs=tuple(node.name for node in placeholders),
        arguments=numbered(inputs),
        parameters=_parameter_names(model, inputs),
        outputs=output_structure(graph, exported, returned),
        returned=returned,
        example=inputs,
        wanted=tuple(wanted),
        batch_primes=(*([prime] if prime else []), *description.primes),
        dimensions=dimensions,
        tried=assignments(dimensions, varying, singles),
        module_types={name: type(module).__name__ for name, module in model.named_modules()},
        notes=(
            *_batch_note(dimensions),
            *_values_note(model),
            *results.notes(left_out),
            *_autocast_note(casts),
            *([watch.casts.note] if watch.casts and watch.casts.note else []),
        ),
        detaches=watch.detaches,
        model=model,
    )


def _batch_note(dimensions: Sequence[Dimension]) -> list[str]:
    """Why there are as many examples in a batch as at capture, if something tells."""
    first = next(iter(dimensions), None)
    if first is None or first.name or not first.reason:
        return []
    return [f"captured for this batch size only: {first.reason}"]


def _values_note(model: nn.Module) -> list[str]:
    """What was not asked where tensors have no values."""
    if has_values(model):
        return []
    return [
        "captured from shapes alone, since tensors on the meta device have no values to compare with the model"
    ]


def _autocast_note(casts: Collection[str]) -> list[str]:
    """What forward would compute in other dtypes."""
    if not casts:
        return []
    return [
        f"autocast inside forward ({', '.join(casts)}) is left out: the slim model computes in the dtypes of its "
        "tensors, and was compared with the model without autocast; call it under torch.autocast for the same"
    ]


def _refuse_keywords(names: Iterable[str]) -> None:
    for name in names:
        word = next((part for part in name.split(".") if iskeyword(part)), None)
        if word is not None:
            raise CaptureError(
                f"{name}: {word!r} is a keyword of Python, which torch.fx cannot write into a program",
                f"call the module or tensor something else, such as {word}_",
            )


def _require_values(stored: Mapping[str, Stored], model: nn.Module) -> None:
    """Raises InputError where a tensor without values is one that no file holds."""
    own = registered_tensors(model)
    for name, item in stored.items():
        if item.tensor.is_meta and (item.kind == "constant" or not item.persistent or name not in own):
            raise InputError(
                f"{name} is on the meta device, and no file of weights holds it, since the model computes it",
                "build the model with real buffers: accelerate.init_empty_weights(include_buffers=False)",
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
