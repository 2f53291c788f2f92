"""Calibration data: batches in any form, the loss, and running the captured program on both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.calibration.losses import Loss, call_loss, signs_loss
from graphprune.capture import normalise_inputs, run, tensor_leaves
from graphprune.capture.execution import Execution, named_tensors
from graphprune.capture.program import Constant, Program
from graphprune.ground.clock import counted
from graphprune.ground.errors import InputError, first_line

__all__ = ["Calibration", "bind_batch", "forward", "gradients"]

Pair = tuple[Tensor, Tensor]

CHUNK = 32  # examples of one big tensor that are run at once
REMEDY = "give a tensor, a list of batches or a DataLoader; a batch is what example_inputs may be"


@dataclass(frozen=True)
class Gradients:
    """Of one batch: (value, gradient) by the names of parameters and of values of the graph."""

    parameters: dict[str, Pair]
    values: dict[str, Pair]


@dataclass(frozen=True)
class Calibration:
    """What data-driven criteria look at.

    Args:
        batches: one batch as a tensor, tuple or dict (run in pieces of 32 where the batch size is free), or any
            iterable of batches, each what ``example_inputs`` may be, or a pair of that and labels. A criterion walks
            it once, a repair several times.
        loss: ``loss(outputs)``, ``loss(outputs, batch)`` or ``loss(outputs, target)`` → a number, see `call_loss`; None
            takes `signs_loss`.
        seed: of the default loss.
    """

    batches: Any
    loss: Loss | None = None
    seed: int = 0

    def walk(self, program: Program) -> Iterator[tuple[Any, list[Any]]]:
        """Every batch, as it was given and as the leaves of one call.

        Raises:
            InputError: there are none, or one does not fit the program.
        """
        for batch, leaves, _ in self.labelled(program):
            yield batch, leaves

    def labelled(self, program: Program) -> Iterator[tuple[Any, list[Any], Any]]:
        """The same with the labels of each batch, None where it has none.

        Raises:
            InputError: there are none, or one does not fit the program.
        """
        count = 0
        for batch in counted(_batches(self.batches, program)):
            count += 1
            yield batch, *bind_batch(batch, program, f"calibration batch {count}")
        if not count:
            raise InputError("the calibration data has no batches", REMEDY)

    def check(self, program: Program) -> None:
        """Runs the program on every batch.

        Raises:
            InputError: there are none, one does not fit the program or makes it fail, or an output is not finite.
        """
        for number, (_, leaves) in enumerate(self.walk(program), 1):
            try:
                with torch.no_grad():
                    outputs = tensor_leaves(run(program.graph, program.tensors, list(leaves)))
            except (RuntimeError, IndexError) as error:
                raise InputError(
                    f"the model fails on calibration batch {number}: {first_line(error)}",
                    "give batches that the model can run",
                ) from error
            if not all(bool(torch.isfinite(leaf).all()) for leaf in outputs if leaf.is_floating_point()):
                raise InputError(
                    f"the model's outputs for calibration batch {number} are not finite",
                    "give batches without NaN and infinity",
                )


def _batches(given: Any, program: Program) -> Iterable[Any]:
    if isinstance(given, Tensor | tuple | Mapping):
        return _pieces(given) if program.dynamic_batch else [given]
    if not isinstance(given, Iterable):
        raise InputError(f"the calibration data is a {type(given).__name__}", REMEDY)
    return given


def _pieces(batch: Any) -> Iterator[Any]:
    """One big batch in pieces, so that memory stays bounded."""
    leaves = tensor_leaves(batch)
    lengths = {len(leaf) if leaf.dim() else 0 for leaf in leaves}
    if len(lengths) != 1 or max(lengths) <= CHUNK:
        yield batch
        return
    for start in range(0, lengths.pop(), CHUNK):
        yield pytree.tree_map_only(Tensor, lambda leaf: leaf[start : start + CHUNK], batch)  # noqa: B023


def _bound(batch: Any, program: Program) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """``batch`` as the call that was captured: keywords in the same order, or as positional arguments."""
    args, kwargs = normalise_inputs(batch)
    expected, keywords = program.example
    missing = program.parameters[len(args) : len(expected)]
    if not all(name in kwargs for name in missing):
        return None
    args = (*args, *(kwargs.pop(name) for name in missing))
    return (args, {name: kwargs[name] for name in keywords}) if set(kwargs) == set(keywords) else None


def bind_batch(batch: Any, program: Program, what: str) -> tuple[list[Any], Any]:
    """The leaves of one call of the program, and the labels.

    There are labels in a pair of inputs and labels, and in a dict that has ``labels`` beside the model's inputs; else
    None.

    Raises:
        InputError: the batch does not fit; the message calls it ``what``.
    """
    wanted = program.flat_inputs(*program.example)
    for candidate, labels in _readings(batch):
        try:
            call = _bound(candidate, program)
        except InputError:
            continue
        leaves = program.flat_inputs(*call) if call else []
        if len(leaves) == len(wanted):
            pairs = zip(leaves, wanted, program.inputs, strict=True)
            return [_fitted(place, *each, program, what) for place, each in enumerate(pairs)], labels
    raise InputError(f"{what} does not hold the model's {len(wanted)} inputs", REMEDY)


def _readings(batch: Any) -> Iterator[tuple[Any, Any]]:
    """What may be inputs in a batch, and what would be labels then."""
    yield batch, None
    if isinstance(batch, tuple | list) and len(batch) == 2:
        yield batch[0], batch[1]
    if isinstance(batch, Mapping) and "labels" in batch:
        yield {name: value for name, value in batch.items() if name != "labels"}, batch["labels"]


def _fitted(place: int, leaf: Any, like: Any, name: str, program: Program, what: str) -> Any:
    """``leaf`` on the device and with the floating dtype of the example."""
    if not isinstance(like, Tensor):
        return leaf
    value = program.values.get(name)
    sizes = tuple(value.shape) if value is not None else tuple(like.shape)
    given = tuple(leaf.shape) if isinstance(leaf, Tensor) else ()
    varies = {at.dim for at in program.dimensions if at.place == place and at.name}
    free = [
        dim in varies or any(size and size % prime == 0 for prime in program.batch_primes)
        for dim, size in enumerate(sizes)
    ]
    fits = len(given) == len(sizes) and all(
        can or got == size for can, got, size in zip(free, given, sizes, strict=True)
    )
    if not fits or leaf.is_floating_point() != like.is_floating_point():
        shape = ", ".join("any" if can else str(size) for can, size in zip(free, sizes, strict=True))
        raise InputError(
            f"input {name} of {what} is {getattr(leaf, 'dtype', type(leaf).__name__)} "
            f"{given}, the model was captured for {like.dtype} ({shape})",
            "give batches like the example inputs" + ("" if any(free) else ", of the same batch size"),
        )
    return leaf.to(like.device, like.dtype)


@torch.no_grad()
def forward(
    program: Program, tensors: Mapping[str, Tensor], calibration: Calibration, wanted: Collection[str]
) -> Iterator[tuple[str, Tensor]]:
    """Runs every batch without gradients as far as a value is ``wanted``, and gives every tensor on its way by name."""
    nodes = {name.partition(".")[0] for name in wanted}
    last = next((node for node in reversed(program.graph.nodes) if node.name in nodes), None)
    for _, leaves in calibration.walk(program):
        for node, value in Execution(program.graph, tensors, leaves):
            yield from named_tensors(node, value).items()
            if node is last:
                break


def gradients(
    program: Program,
    tensors: Mapping[str, Tensor],
    calibration: Calibration,
    values: Iterable[str] = (),
    graph: fx.Graph | None = None,
) -> Iterator[Gradients]:
    """The gradients of the loss of each batch, with respect to all parameters and to the named ``values``.

    ``graph`` is one that computes the same as the program's own, which is taken without it.

    The parameters are detached copies that require gradients, so the user's model and its gradients stay as they
    are, and frozen parameters count too. What the loss does not depend on is left out.

    Raises:
        InputError: the loss fails, or does not return one number that depends on the model.
    """
    wanted = set(values)
    own = _differentiable(program, tensors)
    sources = {name: tensor for name, tensor in own.items() if tensor.requires_grad}
    generator = torch.Generator().manual_seed(calibration.seed)
    measure = calibration.loss or (lambda outputs: signs_loss(outputs, generator))
    for batch, leaves, labels in calibration.labelled(program):
        execution = Execution(graph or program.graph, own, leaves)
        seen: dict[str, Tensor] = {}
        with torch.enable_grad():
            for node, value in execution:
                named = named_tensors(node, value).items()
                seen |= {name: tensor for name, tensor in named if name in wanted and tensor.requires_grad}
            loss = call_loss(measure, _outputs(program, execution.advance()), batch, labels)
        found = torch.autograd.grad(loss, [*sources.values(), *seen.values()], allow_unused=True)
        yield Gradients(_paired(sources, found[: len(sources)]), _paired(seen, found[len(sources) :]))


def _differentiable(program: Program, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.detach().clone().requires_grad_()
        if program.stored[name].kind == "parameter" and tensor.is_floating_point()
        else tensor.detach()
        for name, tensor in tensors.items()
    }


def _paired(values: Mapping[str, Tensor], grads: Iterable[Tensor | None]) -> dict[str, Pair]:
    pairs = zip(values.items(), grads, strict=True)
    return {name: (value.detach(), grad) for (name, value), grad in pairs if grad is not None}


def _outputs(program: Program, leaves: Any) -> Any:
    """What the model returns, in its own structure."""
    output = next(node for node in reversed(program.graph.nodes) if node.op == "output")
    names = [getattr(leaf, "name", None) for leaf in output.args[0]]
    values = dict(zip(names, leaves, strict=True))

    def restore(leaf: Any) -> Any:
        return values[leaf] if isinstance(leaf, str) else leaf.value if isinstance(leaf, Constant) else leaf

    return pytree.tree_map(restore, program.outputs)
