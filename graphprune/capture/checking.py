"""Whether a graph holds at other sizes than those it was traced at: it is run at them, without data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.capture.describe import source_line
from graphprune.capture.execution import Execution, call_operator
from graphprune.capture.trial import Place, fake_tensors
from graphprune.capture.varying import Vary, Varying, together
from graphprune.ground.errors import GraphpruneError, first_line

__all__ = ["Check", "DoesNotVaryError", "Runner"]


class DoesNotVaryError(Exception):
    """Sizes that the model lets vary, but the graph does not: the places, and why."""

    def __init__(self, reasons: Mapping[Place, str]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(reasons.values()))


@dataclass(frozen=True)
class Shapes:
    """A run without data.

    Args:
        values: what each node gave that ran: shapes of tensors, and numbers.
        problem: why it ended early; empty if it did not.
        decided: whether it ended at a decision that falls otherwise.
    """

    values: Mapping[fx.Node, Any]
    problem: str = ""
    decided: bool = False


class Runner:
    """Runs one graph at several sizes.

    Args:
        placeholders: the inputs in order; ``traced`` are the sizes at which the graph was traced.
    """

    def __init__(self, graph: fx.Graph, placeholders: Sequence[fx.Node], traced: Mapping[Place, int]) -> None:
        self._graph = graph
        self._placeholders = placeholders
        self._traced = traced

    @property
    def outputs(self) -> Any:
        """What the graph returns."""
        return self._graph.output_node().args[0]

    def far(self, varying: Iterable[Vary]) -> Far:
        """Runs at sizes far from one another, whatever Python would decide there."""
        sizes = list(varying)
        runs = (self.at(together(sizes, which), decide=False) for which in ("large", "small"))
        return Far(tuple(ran.values for ran in runs))

    def at(self, sizes: Mapping[Place, int], decide: bool = True) -> Shapes:
        """At ``sizes``, and elsewhere those of the trace; with ``decide=False`` whatever Python would decide."""
        on_meta = self._run(sizes, decide, fake=False)
        if on_meta.problem and not on_meta.decided and "meta" in on_meta.problem.lower():
            return self._run(sizes, decide, fake=True)
        return on_meta

    def values(self, sizes: Mapping[Place, int]) -> Mapping[fx.Node, Any]:
        """What each node gives at ``sizes``, in fake tensors; not all nodes are there if one of them fails."""
        return self._run(sizes, decide=False, fake=True, keep=lambda value: value).values

    def _run(
        self,
        sizes: Mapping[Place, int],
        decide: bool,
        fake: bool,
        keep: Callable[[Any], Any] = lambda value: _shape(value),
    ) -> Shapes:
        device = None if fake else torch.device("meta")
        wanted = {**self._traced, **sizes}
        values: dict[fx.Node, Any] = {}

        def like(tensor: Tensor, shape: Sequence[int]) -> Tensor:
            return torch.empty(tuple(shape), dtype=tensor.dtype, device=device or tensor.device)

        def given(node: fx.Node, place: int) -> Any:
            value = node.meta.get("val")
            if not isinstance(value, Tensor):
                return value
            return like(value, [wanted.get((place, dim), size) for dim, size in enumerate(value.shape)])

        def literal(leaf: Any) -> Any:
            return device if device is not None and isinstance(leaf, torch.device) else leaf

        def call(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            try:
                return call_operator(node, args, kwargs)
            except GraphpruneError:
                if decide:
                    raise
                return None

        with fake_tensors() if fake else torch.no_grad():
            tensors = {
                str(node.target): like(node.meta["val"], node.meta["val"].shape)
                for node in self._graph.find_nodes(op="get_attr")
            }
            inputs = [given(node, place) for place, node in enumerate(self._placeholders)]
            execution = Execution(self._graph, tensors, inputs, call, literal)
            try:
                for node, value in execution:
                    values[node] = keep(value)
            except GraphpruneError as error:
                return Shapes(values, error.message, decided=True)
            except Exception as error:  # whatever an operator raises on tensors without data
                where = source_line(execution.node) or execution.node.name
                return Shapes(values, f"{first_line(error, 300)} ({where})")
        return Shapes(values)


def _shape(value: Any) -> Any:
    return pytree.tree_map_only(Tensor, lambda tensor: tuple(tensor.shape), value)


@dataclass(frozen=True)
class Far:
    """Runs at sizes that are far from one another: what is the same in all is constant."""

    runs: tuple[Mapping[fx.Node, Any], ...]

    def constant(self, made: Iterable[fx.Node]) -> set[fx.Node]:
        """Those of the size nodes ``made`` that do not vary."""
        return {
            node
            for node in made
            if any(node in run for run in self.runs)
            and all(run.get(node, node.meta["val"]) == node.meta["val"] for run in self.runs)
        }

    def varies(self, node: fx.Node, dim: int) -> bool:
        """Whether the size of a tensor varies in dimension ``dim``."""
        size = node.meta["val"].shape[dim]
        return any(run[node][dim] != size for run in self.runs if node in run)


class Check:
    """A graph beside the model it was traced from.

    Args:
        positions: where its outputs stand among the ``count`` leaves that the model returns.
    """

    def __init__(self, runner: Runner, positions: Sequence[int], count: int) -> None:
        self._runner = runner
        self._positions = positions
        self._count = count

    def settle(self, varying: Varying) -> Varying:
        """Runs the graph where the model was tried, or nearer to the example if Python decides otherwise there.

        Returns:
            the sizes at which the graph holds.

        Raises:
            DoesNotVaryError: it does not hold at some of them.
        """
        while varying.sizes:
            joint = (together(varying.tried, which) for which in ("large", "small"))
            found = (self._run(*pair) for pair in zip(joint, varying.shapes, strict=True))
            failed = next((ran for ran in found if ran.problem), None)
            if failed is None:
                return varying
            nearer = varying.nearer() if failed.decided else None
            if nearer is None:
                raise DoesNotVaryError(self._guilty(varying, failed.problem))
            varying = nearer
        return varying

    def _run(self, sizes: Mapping[Place, int], expected: Sequence[Any]) -> Shapes:
        """A run of the graph, with a problem too if the model returns other shapes."""
        ran = self._runner.at(sizes)
        if ran.problem or len(expected) != self._count:
            return ran
        for output, position in zip(self._runner.outputs, self._positions, strict=True):
            if isinstance(output, fx.Node) and expected[position] not in (None, ran.values[output]):
                return Shapes(ran.values, f"the shape of output {position} does not follow it")
        return ran

    def _guilty(self, varying: Varying, problem: str) -> dict[Place, str]:
        """Which sizes the graph does not follow, and why: those with which alone it does not, else all."""
        reasons: dict[Place, str] = {}
        example = together(varying.tried, "size")
        for vary in varying.tried:
            for size in (vary.large, vary.small):
                sizes = {**example, **vary.at(size)}
                ran = self._run(sizes, varying.trial.run(sizes).shapes)
                if ran.problem:
                    reasons |= dict.fromkeys(vary.places, ran.problem)
        return reasons or {place: problem for vary in varying.tried for place in vary.places}
