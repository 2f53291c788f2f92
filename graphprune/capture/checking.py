"""Whether a graph holds at other sizes than those it was traced at: it is run at them, without data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.capture.describe import source_line
from graphprune.capture.dimensions import Dimension
from graphprune.capture.execution import Execution, call_operator
from graphprune.capture.known import Known
from graphprune.capture.trial import Place, fake_tensors
from graphprune.capture.varying import Vary, Varying, together
from graphprune.ground.arguments import require, tensor_leaves
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
        known: what operators gave on the meta device.
    """

    def __init__(
        self, graph: fx.Graph, placeholders: Sequence[fx.Node], traced: Mapping[Place, int], known: Known
    ) -> None:
        self._graph = graph
        self._known = known
        self._placeholders = placeholders
        self._traced = traced
        self._known_runs: dict[frozenset[tuple[Place, int]], Shapes] = {}

    @property
    def outputs(self) -> Any:
        """What the graph returns."""
        return self._graph.output_node().args[0]

    def far(self, varying: Iterable[Vary]) -> Far:
        """Runs at sizes far from one another, whatever Python would decide there."""
        sizes = list(varying)
        runs = {frozenset(at.items()): at for at in (together(sizes, "large"), together(sizes, "small"))}
        return Far(tuple(self.at(at, decide=False).values for at in runs.values()), self._placeholders)

    def at(self, sizes: Mapping[Place, int], decide: bool = True) -> Shapes:
        """At ``sizes``, and elsewhere those of the trace; with ``decide=False`` whatever Python would decide."""
        key = frozenset(sizes.items())
        if key in self._known_runs:
            return self._completed(self._known_runs[key], decide)
        ran = self._run(sizes, decide)
        if ran.problem and not ran.decided and "meta" in ran.problem.lower():
            ran = self._run(sizes, decide, fake=True)
        if not ran.problem:
            self._known_runs[key] = ran
        return ran

    def _completed(self, known: Shapes, decide: bool) -> Shapes:
        """A run that was made before there were more sizes and conditions in the graph, with these."""
        values = dict(known.values)
        for node in self._graph.nodes:
            if decide and node.target is require and not values[node.args[0]]:
                return Shapes(values, str(node.args[1]), decided=True)
            if node not in values and node.op == "call_function":
                args = fx.node.map_aggregate(
                    node.args, lambda leaf: values[leaf] if isinstance(leaf, fx.Node) else leaf
                )
                if node.target is torch.ops.aten.sym_size.int:
                    values[node] = args[0][args[1]]
                elif node.target is not require:
                    try:
                        values[node] = node.target(*args)
                    except ArithmeticError as error:
                        return Shapes(values, f"{first_line(error)} ({node.name})")
        return Shapes(values)

    def describe_at(self, sizes: Mapping[Place, int]) -> None:
        """Notes in the graph what its nodes give at ``sizes``, where it was traced at others.

        Raises:
            DoesNotVaryError: it does not run there, or sizes are data.
        """
        if not sizes:
            return
        values: dict[fx.Node, Any] = {}
        ran = self._run(sizes, fake=True, keep=values.__setitem__)
        if ran.problem or any(map(_is_data, values.values())):
            raise DoesNotVaryError(dict.fromkeys(sizes, "the model computes otherwise at the example's size"))
        for node, value in values.items():
            node.meta["val"] = value

    def _run(
        self,
        sizes: Mapping[Place, int],
        decide: bool = True,
        fake: bool = False,
        keep: Callable[[fx.Node, Any], Any] = lambda node, value: None,
    ) -> Shapes:
        values: dict[fx.Node, Any] = {}
        with torch.no_grad(), fake_tensors() if fake else self._known:
            execution = self._execution({**self._traced, **sizes}, decide, fake)
            try:
                for node, value in execution:
                    values[node] = _shape(value)
                    keep(node, value)
            except GraphpruneError as error:
                return Shapes(values, error.message, decided=True)
            except Exception as error:  # whatever an operator raises on tensors without data
                where = source_line(execution.node) or execution.node.name
                return Shapes(values, f"{first_line(error, 300)} ({where})")
        return Shapes(values)

    def _execution(self, wanted: Mapping[Place, int], decide: bool, fake: bool) -> Execution:
        device = None if fake else torch.device("meta")

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
            if node.target is require and not decide:
                return None
            return call_operator(node, args, kwargs)

        tensors = {
            str(node.target): like(node.meta["val"], node.meta["val"].shape)
            for node in self._graph.find_nodes(op="get_attr")
        }
        inputs = [given(node, place) for place, node in enumerate(self._placeholders)]
        return Execution(self._graph, tensors, inputs, call, literal)


def _shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return pytree.tree_map_only(Tensor, lambda tensor: tuple(tensor.shape), value)


def _is_data(value: Any) -> bool:
    """Whether a size in it depends on data."""
    sizes = [size for leaf in tensor_leaves(value) for size in leaf.shape]
    return any(isinstance(size, torch.SymInt) for size in (*sizes, *pytree.tree_leaves(value)))


@dataclass(frozen=True)
class Far:
    """Runs at sizes that are far from one another: what is the same in all is constant."""

    runs: tuple[Mapping[fx.Node, Any], ...]
    placeholders: Sequence[fx.Node]

    def constant(self, reads: Mapping[tuple[fx.Node, int], fx.Node]) -> set[fx.Node]:
        """Those of the nodes that read sizes whose sizes do not vary; by the tensors and dimensions that they read."""
        return {
            read
            for (tensor, dim), read in reads.items()
            if len(set(self._sizes(tensor, dim))) == 1 and any(tensor in run for run in self.runs)
        }

    def named(self, node: fx.Node, dim: int, dimensions: Iterable[Dimension]) -> str:
        """What a size is called in a message: as the input's dimension that it is equal to at all sizes, if one is."""
        for at in dimensions:
            source = self.placeholders[at.place]
            if at.name and self._sizes(source, at.dim) == self._sizes(node, dim):
                return str(at)
        return f"size {dim} of {node.name}"

    def _sizes(self, node: fx.Node, dim: int) -> list[int]:
        return [node.meta["val"].shape[dim], *(run[node][dim] for run in self.runs if node in run)]

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
            given = ran.values[output] if isinstance(output, fx.Node) else output
            if expected[position] is not None and expected[position] != given:
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
