"""The operators of PyTorch in ONNX: the library that torch's own exporter translates with, called node by node.

Torch offers this library through `torch.onnx.export` only, which traces the whole model anew. What is used of it here
is private to torch: ``torch.onnx._internal.exporter``, of it what `Translations` reads, ``_building.OpRecorder`` and
``_tensors.SymbolicTensor``. Where a version of torch lacks any of them, `library` says so with an ExportError, and the
whole model goes through `torch.onnx.export`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from graphprune.ground.errors import ExportError, first_line

__all__ = ["LIBRARY_OPSET", "OPSET", "Library", "Recording", "library"]

OPSET = 20  # what `torch.onnx.export` writes by default
LIBRARY_OPSET = 18  # what its functions are written in


_signatures: dict[tuple[str, str, int], Any] = {}


@dataclass(frozen=True)
class Recording:
    """The ONNX nodes that a translation made, the functions that they call, and its results."""

    results: Any
    nodes: list[Any]
    functions: Mapping[Any, Any]


class Translations:
    """All translations. The source of one is read when it is asked for: that of all takes as long as a small export.

    ``_registration.ONNXRegistry`` says which of several is taken for a version of ONNX. Torch's own are in
    ``_torchlib``, the others in onnxscript's ``registration.default_registry``.
    """

    def __init__(self, opset: int) -> None:
        from onnxscript.function_libs.torch_lib import ops, registration
        from torch.onnx._internal.exporter import _registration
        from torch.onnx._internal.exporter._torchlib import _torchlib_registry

        assert ops  # which registers what it defines
        self._torch, self._opset = _registration, opset
        self._own: dict[str, list[Any]] = {}
        for item in _torchlib_registry.get_torchlib_ops():
            self._own.setdefault(_name(item.fx_target), []).append(item)
        # Python's own operators stand there as __lshift__ or as add
        self._others = {
            name.replace("__", "") if name.startswith("_operator") else name: item
            for name, item in registration.default_registry.items()
        }
        self._made: dict[str, list[Any]] = {}

    def has(self, target: Any) -> bool:
        """Whether anything translates the operator."""
        return _name(target) in self._own or _name(target) in self._others

    def of(self, target: Any) -> list[Any]:
        """What translates the operator."""
        name = _name(target)
        if name not in self._made and self.has(target):
            registry = self._torch.ONNXRegistry()
            registry._opset_version = self._opset
            for item in self._own.get(name, ()):
                registry._register(target, item)
            if (others := self._others.get(name)) is not None:
                kinds = [(function, False) for function in others.overloads]
                for function, is_complex in kinds + [(function, True) for function in others.complex]:
                    made = self._torch.OnnxDecompMeta(function, target, None, is_complex=is_complex)
                    registry._register(target, made)
            registry._cleanup_registry_based_on_opset_version()
            self._made[name] = registry.get_decomps(target)
        return self._made.get(name, [])


def _name(target: Any) -> str:
    """As translations are registered: "aten::add.Tensor", "_operator::add", "math::ceil"."""
    return target.name() if hasattr(target, "_schema") else f"{target.__module__}::{target.__name__}"


@dataclass(frozen=True)
class Library:
    """Torch's translations; constants are shared by all that are made with one library.

    Attributes:
        op: the operators of ONNX: ``op.Relu(x)`` within `record` makes a node.
        parts: operators that were taken apart already, see `taken_apart`.
    """

    registry: Translations
    recorder: Any
    symbolic: Any
    op: Any
    constants: dict[Any, Any] = field(default_factory=dict)
    parts: dict[Any, Any] = field(default_factory=dict)

    def function(self, target: Any, is_complex: bool = False) -> Any:
        """What translates the operator; None if nothing does."""
        found = [item for item in self.registry.of(target) if item.is_complex == is_complex]
        return found[0].onnx_function if found else None

    def aten(self, name: str) -> Any:
        """What translates ``aten.name``, with its overload; called within `record` it makes nodes."""
        packet, _, overload = name.partition(".")
        return self.function(getattr(getattr(torch.ops.aten, packet), overload or "default"))

    def record(self, make: Callable[[], Any]) -> Recording:
        """Runs ``make``, which calls translations on values, numbers, texts and lists of these.

        Raises:
            Exception: whatever a translation raises on such arguments.
        """
        from onnxscript import evaluator

        recorder = self.recorder(self.op, self.constants)
        before = dict(self.constants)
        try:
            with evaluator.default_as(recorder), _signatures_once():
                results = make()
        except BaseException:
            # the constants that it made are in no graph
            self.constants.clear()
            self.constants.update(before)
            raise
        return Recording(results, recorder.nodes, recorder.functions)

    def value(self, name: str | None = None) -> Any:
        """A value that translations can compute with."""
        return self.symbolic(self.op, name=name)

    def decompositions(self) -> dict[Any, Any]:
        """Operators that torch can take apart, without those that are translated as they are."""
        return {target: how for target, how in _table().items() if not self.registry.has(target)}


@contextmanager
def _signatures_once() -> Iterator[None]:
    """The signature of an operator of ONNX is read from its schema once, not for every node."""
    from onnx_ir.schemas import OpSignature

    own = OpSignature.__dict__["from_op_schema"]

    def read(cls: Any, schema: Any) -> Any:
        key = schema.domain, schema.name, schema.since_version
        if key not in _signatures:
            _signatures[key] = own.__get__(None, cls)(schema)
        return _signatures[key]

    OpSignature.from_op_schema = classmethod(read)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        OpSignature.from_op_schema = own  # type: ignore[method-assign]


def library() -> Library:
    """The library of this version of torch, with no constants yet.

    Raises:
        ExportError: this version has another one.
    """
    try:
        registry, recorder, symbolic = _private()
        from onnxscript.values import Opset

        return Library(registry, recorder, symbolic, Opset("", OPSET))
    except (ImportError, AttributeError, TypeError) as error:
        raise ExportError(
            f"torch {torch.__version__} keeps its ONNX operators elsewhere: {first_line(error)}",
            "use a version of torch that graphprune was tested with",
        ) from error


@cache
def _table() -> dict[Any, Any]:
    table = {**torch._decomp.decomposition_table, **torch.export.default_decompositions()}
    return {target: how for target, how in table.items() if hasattr(target, "_schema")}


@cache
def _private() -> tuple[Any, Any, Any]:
    from torch.onnx._internal.exporter import _building, _tensors

    registry = Translations(OPSET)
    if not registry.of(torch.ops.aten.relu.default):
        raise AttributeError("the registry is empty")
    return registry, _building.OpRecorder, _tensors.SymbolicTensor
