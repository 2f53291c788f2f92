"""One run of the masked original. Where gradients will be taken by it, autograd takes note of what it computes.

So one run serves two checks: its nodes are compared with those of the slim program, then its gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.execution import Call, default_dtype, named_tensors
from graphprune.capture.program import Program
from graphprune.planning.plan import make_masks
from graphprune.verifying.backward import (
    Gradients,
    as_given,
    backward,
    laid_calls,
    learning,
    leaves_of,
    numbered,
)
from graphprune.verifying.claim import Claim, Values
from graphprune.verifying.reference import Reference

__all__ = ["Masked", "returned"]


class Masked:
    """The masked original on stored tensors and inputs.

    Args:
        values: whether gradients are taken, and by what, is said by what is ``chosen`` among them.
    """

    def __init__(self, claim: Claim, values: Values, inputs: list[Any]) -> None:
        self.learns = values.chosen is not None
        self.program = claim.graph.program
        self._inputs = as_given(inputs) if self.learns else inputs
        self._tensors: Mapping[str, Tensor] = values.zeroed
        if values.chosen is not None:
            self._tensors = leaves_of(values.zeroed, values.chosen)
        self.reference = Reference(claim.graph, make_masks(claim.graph, claim.plan.groups).kept, self._inputs)
        self._outputs: dict[str, Tensor] = {}
        self._taken: Gradients | Exception | None = None

    def run(
        self, wide: torch.dtype | None, changed: Callable[[Call], Call] = lambda call: call
    ) -> Iterator[tuple[fx.Node, Any]]:
        """Every node with its value, see `Reference.run`; between two nodes the caller's own mode holds."""
        laid = laid_calls if self.learns else lambda call: call
        steps = iter(self.reference.run(self._tensors, wide, lambda call: changed(laid(call))))
        while True:
            with torch.set_grad_enabled(self.learns):
                step = next(steps, None)
            if step is None:
                return
            if self.learns:
                self._outputs |= returned(self.program, *step)
            yield step

    def gradients(self, wide: torch.dtype | None, seed: int) -> Gradients:
        """Of a run that has come to its end, whose values are given up for them.

        Raises:
            Exception: whatever the derivative of an operator raises, each time that they are asked for.
        """
        if self._taken is None:
            try:
                self._taken = self._take(wide, seed)
            except Exception as error:  # kept, since the run can be differentiated once
                self._taken = error.with_traceback(None)
        if isinstance(self._taken, Exception):
            raise self._taken
        return self._taken

    def _take(self, wide: torch.dtype | None, seed: int) -> Gradients:
        outputs, self._outputs = self._outputs, {}
        with torch.enable_grad(), default_dtype(wide):  # some operators run forward again
            kept = [
                self.reference.region(name).take(outputs[name])
                for name in self.program.output_names
                if name in outputs
            ]
            return backward(kept, {**learning(self._tensors), **numbered(self._inputs)}, seed)


def returned(program: Program, node: fx.Node, value: Any) -> dict[str, Tensor]:
    """What the program returns of the tensors that a node makes, by name."""
    return {name: item for name, item in named_tensors(node, value).items() if name in program.output_names}
