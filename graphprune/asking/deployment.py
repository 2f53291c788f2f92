"""How a slim model is made ready for where it will run: every choice of `graphprune.export`, in one checked value."""

# ruff: noqa: RUF009 – fields of the dataclass are made by calls
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from graphprune.ground.errors import InputError
from graphprune.ground.options import COUNTS, SEEDS, THREADS, Range, check_numbers, documented, option

__all__ = ["SHARED", "Deployment"]

OPSETS: Range = (15, 26)  # to older ones ONNX's converter knows no way
NUMBER: Any = int | None
TEXT: Any = str | None
PANEL = "Files to deploy"
AUTO = "auto"
SHARED = ("dynamic", "calibration", "threads", "batch", "seed")  # which a shrink is asked for itself


@documented
@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Options of `graphprune.export`. Every one is declared here, for Python and for the command line."""

    fp16: bool = option(
        False,
        "Write model_fp16.onnx too: numbers in half precision, inputs and outputs still in float32. Nodes whose values "
        "leave its range on the examples stay in float32.",
        PANEL,
        typed=bool,
    )
    int8: bool = option(
        False,
        "Write model_int8.onnx too: 8 bits, static, weights by channel, as QuantizeLinear and DequantizeLinear.",
        PANEL,
        typed=bool,
    )
    symmetric: bool = option(
        False,
        "Of int8: activations without a zero point, which TensorRT asks for. They are a little coarser.",
        PANEL,
        typed=bool,
    )
    max_error: float = option(
        0.1,
        "Of int8: how far outputs may be off, relative to their norm. Nodes stay in float, those first that are off "
        "most by themselves, until this is met on held-out examples, half of all nodes at most.",
        PANEL,
        "F",
        float,
        within=(0.0, 1e6),
    )
    opset: int | None = option(
        None,
        "Version of the ONNX operators; by default that of model.onnx.",
        PANEL,
        "N",
        NUMBER,
        within=OPSETS,
    )
    input_names: Sequence[str] | str | None = option(
        None,
        "Names of the inputs in their order, with commas between them; by default the arguments' own.",
        PANEL,
        "NAME,...",
        TEXT,
    )
    output_names: Sequence[str] | str | None = option(
        None, "Likewise of the outputs.", PANEL, "NAME,...", TEXT
    )
    dynamic: str = option(
        AUTO,
        "Which sizes of the inputs may vary: auto for those that do in model.onnx, none, or names of some, with commas "
        "between them, such as batch; NAME=N fixes one at N. Others are fixed: the batch at 1, the rest at the size "
        "that they have in the examples.",
        PANEL,
        "NAME,...",
        str,
    )
    external_data: bool = option(
        False, "Keep the weights in a file of their own beside each model.", PANEL, typed=bool
    )
    calibration: Any = option(
        None,
        "Examples that int8 takes its ranges from, and on which all files are judged; as for shrink. By default inputs "
        "that are made for the model.",
        PANEL,
        "DATA",
        TEXT,
    )
    threads: int = option(1, "Threads of onnxruntime where files are timed.", PANEL, "N", int, within=THREADS)
    batch: int = option(1, "Examples in a run that is timed.", PANEL, "N", int, within=COUNTS)
    seed: int = option(0, "Of inputs that are made.", PANEL, "N", int, within=SEEDS)

    def __post_init__(self) -> None:
        check_numbers(self)
        for name in ("input_names", "output_names"):
            given = getattr(self, name)
            names = given.split(",") if isinstance(given, str) else given or ()
            object.__setattr__(self, name, tuple(str(one).strip() for one in names) or None)
        named = (*self.inputs, *self.outputs)
        if "" in named:
            raise InputError("a name of an input or output is empty", "write them as image,mask")
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice:
            raise InputError(
                f"two inputs or outputs would be called {twice!r}", "give each a name of its own"
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs; none where they keep their own."""
        return tuple(self.input_names or ())

    @property
    def outputs(self) -> tuple[str, ...]:
        """Likewise of the outputs."""
        return tuple(self.output_names or ())

    @property
    def kept(self) -> dict[str, int | None] | None:
        """Name of a size → what it is fixed at, None where it varies; None for all as they are.

        Raises:
            InputError: a size is no whole number.
        """
        if self.dynamic == AUTO:
            return None
        found: dict[str, int | None] = {}
        for part in filter(None, self.dynamic.replace(" ", "").split(",")):
            name, equals, size = part.partition("=")
            if equals and not (size.isdecimal() and int(size) > 0):
                raise InputError(f"dynamic={part!r} fixes a size at what is no size", "write it as batch=1")
            if name != "none":
                found[name] = int(size) if equals else None
        return found

    @property
    def is_asked(self) -> bool:
        """Whether anything is wanted that model.onnx is not."""
        return any(
            getattr(self, item.name) != item.default for item in fields(self) if item.name not in SHARED
        )
