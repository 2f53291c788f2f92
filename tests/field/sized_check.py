"""Runs a slim model, in all forms it is given away in, at other sizes beside the masked original."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from black_box import leaves, randomise, zeroed
from sized_cases import Case, Inputs
from torch import Tensor, nn

import graphprune as gp
from graphprune.exporting.runtime import runner, session

__all__ = ["FORMS", "Outcome", "Slim", "compare"]

EXACT = 1e-5  # float32 in PyTorch, relative to the largest value of each output
NEAR = 1e-4  # onnxruntime
FORMS = ("model", "loaded", "model.py", "onnx")

Call = Callable[[Inputs], list[Tensor]]


@dataclass(frozen=True)
class Outcome:
    """What a slim model does at other sizes than its example's: "right", "refused" or "wrong"."""

    kind: str
    said: str = ""
    error: BaseException | None = None


@contextmanager
def plain_layers() -> Iterator[None]:
    """torch's transformer layers look into their norms for a faster way, which the masked ones have not."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Slim:
    """The slim model of a case: the masked original, and each form of it when it is first asked for."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        torch.manual_seed(0)
        self.original = randomise(case.build()).eval()
        self.result = gp.shrink(
            self.original, case.inputs(**case.example), ratio=0.4, importance="random", seed=1
        )
        self.masked = zeroed(self.original, self.result.plan.kept)
        self.calls: dict[str, Call] = {}

    def expected(self, sizes: dict[str, int]) -> tuple[Inputs, list[Tensor] | None]:
        """Inputs of these sizes, and what the masked original gives; None where it does not run."""
        torch.manual_seed(sum(sizes.values()))
        inputs = self.case.inputs(**sizes)
        try:
            with plain_layers():
                return inputs, leaves(self.masked(*inputs))
        except Exception:  # whatever a user's model raises
            return inputs, None

    def __call__(self, form: str) -> Call:
        if form not in self.calls:
            self.calls[form] = MAKERS[form](self)
        return self.calls[form]

    def of_module(self, module: nn.Module) -> Call:
        def call(inputs: Inputs) -> list[Tensor]:
            with torch.no_grad():
                return leaves(module(*inputs))

        return call

    def loaded(self) -> nn.Module:
        folder = self.folder / "torch"
        if not folder.exists():
            self.result.save(folder, onnx=False)
        return gp.load(folder)

    def written(self) -> nn.Module:
        self.loaded()
        spec = importlib.util.spec_from_file_location("slim_model", self.folder / "torch" / "model.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.load()

    def onnx(self) -> Call:
        self.result.save(self.folder / "onnx", latency=False)
        loaded = session(self.folder / "onnx" / "model.onnx")

        def call(inputs: Inputs) -> list[Tensor]:
            return [torch.as_tensor(array) for array in runner(loaded, inputs, {})()]

        return call


MAKERS: dict[str, Callable[[Slim], Call]] = {
    "model": lambda slim: slim.of_module(slim.result.model),
    "loaded": lambda slim: slim.of_module(slim.loaded()),
    "model.py": lambda slim: slim.of_module(slim.written()),
    "onnx": Slim.onnx,
}


def compare(slim: Slim, form: str, sizes: dict[str, int]) -> Outcome:
    """What the form does at these sizes; where the original does not run, anything but an error is wrong."""
    inputs, expected = slim.expected(sizes)
    call = slim(form)
    try:
        given = call(inputs)
    except Exception as error:  # a refusal, by us, by torch, or by onnxruntime
        return Outcome("refused", f"{type(error).__name__}: {str(error).splitlines()[0]}", error)
    if expected is None:
        return Outcome("wrong", "the original refuses these sizes")
    return _judged(expected, given, NEAR if form == "onnx" else EXACT)


def _judged(expected: list[Tensor], given: list[Tensor], tolerance: float) -> Outcome:
    shapes = [tuple(e.shape) for e in expected], [tuple(g.shape) for g in given]
    if shapes[0] != shapes[1]:
        return Outcome("wrong", f"shapes {shapes[1]} instead of {shapes[0]}")
    errors = [_error(e, g) for e, g in zip(expected, given, strict=True)]
    said = f"relative error {max(errors):.0e}"
    return Outcome("right" if max(errors) < tolerance else "wrong", said)


def _error(expected: Tensor, given: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    if not expected.numel():
        return 0.0
    apart = (expected.double() - given.double()).abs().max()
    return float(torch.nan_to_num(apart / expected.double().abs().max().clamp(min=1e-9), nan=1e9))


def changed(case: Case, sizes: dict[str, int]) -> set[tuple[int, int]]:
    """The dimensions of the inputs that differ from the example's, as (place among the leaves, dimension)."""
    one, other = (_tensors(case.inputs(**each)) for each in (case.example, sizes))
    return {
        (place, dim)
        for place, (a, b) in enumerate(zip(one, other, strict=True))
        for dim in range(a.dim())
        if a.shape[dim] != b.shape[dim]
    }


def _tensors(inputs: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
