"""Decisions that set the size 1 apart from all others, such as ``is_causal = query.shape[2] > 1``.

Often they choose what is faster and not what is computed. Such a decision needs no condition where the graph gives what
the model gives at that one size: it is compared there, on the example's values.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from graphprune.capture.checking import DoesNotVaryError, Runner
from graphprune.capture.execution import Execution, call_operator
from graphprune.capture.export import left_as_it_was
from graphprune.capture.inputs import Inputs, fresh, with_values
from graphprune.capture.lazy import has_values
from graphprune.capture.outputs import positions
from graphprune.capture.trial import Place
from graphprune.capture.varying import Vary, Varying, together
from graphprune.ground.arguments import require, tensor_leaves
from graphprune.ground.unlogged import unlogged

__all__ = ["Beside", "allow_single"]

_COMPARISONS = (operator.gt, operator.ge, operator.lt, operator.le, operator.ne)


class Beside:
    """A graph beside the model it was traced from, on real values.

    Args:
        returned: positions of the outputs among the leaves of what the model returns.
    """

    def __init__(
        self,
        graph: fx.Graph,
        tensors: Mapping[str, Tensor],
        model: nn.Module,
        inputs: Inputs,
        returned: Sequence[int],
    ) -> None:
        self.graph = graph
        self._tensors = tensors
        self._model = model
        self._inputs = inputs
        self._returned = returned

    def agree(self, sizes: Mapping[Place, int]) -> bool:
        """Whether both give the same at ``sizes``, whatever the graph requires of them."""
        if not has_values(self._model):
            return False
        args, kwargs = fresh(with_values(self._inputs, sizes))
        leaves = [
            leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in pytree.tree_leaves((args, kwargs))
        ]
        try:
            with torch.no_grad():
                given = tensor_leaves(Execution(self.graph, self._tensors, leaves, _called).advance())
                with left_as_it_was(self._model), unlogged():
                    wanted = positions(self._model(*args, **kwargs), self._returned)
        except Exception:  # whatever one of them raises at this size, the decision then stands
            return False
        return len(wanted) == len(given) and all(map(_equal, wanted, given))


def allow_single(beside: Beside, runner: Runner, varying: Varying) -> tuple[dict[Place, int], ...]:
    """Removes from the graph the conditions that only exclude the size 1, where it is right at that size.

    A size that is 1 in the example was traced at another one, see `Vary.traced`; the graph is then described at 1.

    Returns:
        the sizes at which the graph was compared with the model.

    Raises:
        DoesNotVaryError: the graph is not right at the example's size 1.
    """
    batch = varying.batch
    found: list[dict[Place, int]] = []
    corners = [together(varying.tried, which) for which in ("small", "large")]
    for vary in varying.tried:
        elsewhere = _is_elsewhere(vary, batch)
        conditions = _excluding(beside.graph, runner, vary, corners) if vary.multiple == 1 else []
        singles = [{**corner, **vary.at(1)} for corner in corners]
        if (conditions or elsewhere) and all(map(beside.agree, singles)):
            found += singles
            for node in conditions:
                beside.graph.erase_node(node)
        elif elsewhere or (conditions and vary.size == 1):
            raise DoesNotVaryError(dict.fromkeys(vary.places, "the model computes otherwise at the size 1"))
    runner.describe_at(
        {place: 1 for vary in varying.sizes if _is_elsewhere(vary, batch) for place in vary.places}
    )
    return tuple(found)


def _is_elsewhere(vary: Vary, batch: Vary | None) -> bool:
    """Whether the example's size is 1, and the graph was traced at another."""
    return vary.size == 1 and (batch is None or vary.places != batch.places)


def _excluding(
    graph: fx.Graph, runner: Runner, vary: Vary, corners: Sequence[Mapping[Place, int]]
) -> list[fx.Node]:
    """The conditions that hold at every size of ``vary`` but 1; none if there are others that do not hold there."""
    conditions = [node for node in graph.nodes if node.target is require]
    if not any(map(_compared, conditions)):
        return []
    singles = [runner.at({**corner, **vary.at(1)}, decide=False) for corner in corners]
    others = [(runner.at(corner, decide=False), corner[vary.places[0]]) for corner in corners]
    runs = [*((ran, 1) for ran in singles), *others]
    if any(ran.problem for ran, _ in runs):
        return []
    failing = [n for n in conditions if not all(ran.values.get(n.args[0], True) for ran in singles)]
    sizes = [_compared(node) for node in failing]
    alone = all(
        node is not None and all(ran.values.get(node) == size for ran, size in runs) for node in sizes
    )
    return failing if alone else []


def _compared(condition: fx.Node) -> fx.Node | None:
    """The size that a condition compares with a number, if it holds of every size but 1."""
    holds: Any = condition.args[0]
    if not isinstance(holds, fx.Node) or holds.target not in _COMPARISONS:
        return None
    size, other = holds.args
    if not isinstance(size, fx.Node) or isinstance(other, fx.Node):
        return None
    outcomes = [holds.target(number, other) for number in (1, 2, 3, 1 << 62)]
    return size if outcomes == [False, True, True, True] else None


def _called(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return None if node.target is require else call_operator(node, args, kwargs)


def _equal(one: Tensor, two: Tensor) -> bool:
    """Within what rounding in another order does."""
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if not one.dtype.is_floating_point:
        return torch.equal(one, two)
    finite = one[one.isfinite()].abs()
    limit = torch.finfo(one.dtype).eps ** 0.75 * (float(finite.max()) if finite.numel() else 1.0)
    return torch.allclose(one, two, rtol=0.0, atol=limit, equal_nan=True)
