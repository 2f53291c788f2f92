"""Checks that the captured program learns as the user's model does, where that keeps gradients from something.

No output tells whether a tensor is cut off from gradients, and what compares slim models with the captured program
takes its word for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.capture import tensor_leaves
from graphprune.capture.detaching import inference_as_no_grad
from graphprune.capture.execution import default_dtype, run
from graphprune.capture.export import left_as_it_was
from graphprune.capture.outputs import positions
from graphprune.capture.program import Program
from graphprune.verifying.backward import (
    FAILURES,
    Gradients,
    as_given,
    backward,
    chosen_parameters,
    compared,
    copied,
    laid,
    learning,
    leaves_of,
    not_compared,
    numbered,
    reason,
    smaller,
)
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.modules import holding
from graphprune.verifying.nodes import coarsest_dtype
from graphprune.verifying.samples import Sizes, random_inputs
from graphprune.verifying.tensors import in_dtype, randomised
from graphprune.verifying.verdict import Check

__all__ = ["Both", "captured_gradients"]

NAME = "gradients of the captured program equal the model's, random parameters"
WIDE = 1e-6  # in float64, of which a forward may compute a part in float32
_HINT = "what has gradients cannot be written into under torch.no_grad: y = y + (new - y).detach() can be captured"
LARGEST = 200_000_000  # a backward run holds all activations, and the weights in float64


def captured_gradients(program: Program, seed: int, sizes: Sizes) -> Iterator[Check]:
    """In float64, or in the model's own dtypes where its Python names them; none where nothing is cut off."""
    model = program.model
    if model is None or not program.detaches:
        return
    own, why = coarsest_dtype(program), f"more than {LARGEST} parameters would not fit into memory"
    for dtype in (torch.float64, own) if program.parameter_count <= LARGEST else ():
        wide = dtype if dtype is torch.float64 else None
        limit = TOLERANCE[own] if wide is None else WIDE
        tensors = randomised(program.stored, seed, wide)
        for at in smaller(program, sizes):
            inputs = [in_dtype(leaf, wide) for leaf in random_inputs(program, seed, at)]
            both = Both(program, tensors, inputs, seed, dtype)
            try:
                expected = both.of_model(model, none=True)
            except FAILURES as error:
                why = f"the model cannot be differentiated: {reason(error)}"
                continue
            try:
                given = both.of_program()
                check = compared(NAME, program, expected, given, both.of_program, limit)
                yield check if check.passed else replace(check, detail=f"{check.detail}; {_HINT}")
            except FAILURES as error:
                yield Check(
                    NAME, False, float("inf"), limit, f"the program cannot be differentiated: {reason(error)}"
                )
            return
    yield not_compared(NAME, WIDE, why)


@dataclass(frozen=True)
class Both:
    """The user's model and the captured program, with the same tensors and inputs.

    Args:
        dtype: what is made from numbers alone has it; that of ``tensors``.
    """

    program: Program
    tensors: Mapping[str, Tensor]
    inputs: Sequence[Any]
    seed: int
    dtype: torch.dtype | None = None

    def of_model(self, model: nn.Module, none: bool = False) -> Gradients:
        """Gradients of ``model``.

        Args:
            none: whether they may all be zero.

        Raises:
            NoGradientError: all would be, which they may not.
        """
        leaves, inputs = self._leaves(), as_given(self.inputs)
        stored = self.program.stored
        held = {n: t if stored[n].kind == "parameter" else t.clone() for n, t in leaves.items()}
        with left_as_it_was(model), holding(model, self.program, held), self._learning():
            args, kwargs = self.program.call_of(copied(inputs))
            outputs = positions(model(*args, **kwargs), self.program.returned)
            return backward(outputs, {**learning(leaves), **numbered(inputs)}, self.seed, none)

    def of_program(self, by: float = 0.0) -> Gradients:
        """Gradients of the captured program, every parameter multiplied by up to ``1 + by``."""
        leaves, inputs = self._leaves(by), as_given(self.inputs)
        with self._learning():
            outputs = tensor_leaves(run(self.program.graph, leaves, copied(inputs)))
            return backward(outputs, {**learning(leaves), **numbered(inputs)}, self.seed, none=True)

    def _leaves(self, by: float = 0.0) -> Gradients:
        used = sorted(set(self.program.attributes.values()))
        tensors = {name: self.tensors[name] for name in used}
        return leaves_of(tensors, chosen_parameters(self.program, self.seed), by)

    @contextmanager
    def _learning(self) -> Iterator[None]:
        with torch.enable_grad(), inference_as_no_grad(), default_dtype(self.dtype), laid(self.program):
            yield
