"""Which dimensions of its inputs vary: in a model itself, in the program captured from it, and in an ONNX file.

What the model lets vary is measured: it runs at a second size. Dimensions that must change together, such as the
lengths of tokens and of their mask, are tried together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from graphprune.capture import Program
from graphprune.capture.dimensions import Dimension
from graphprune.capture.export import left_as_it_was
from graphprune.capture.inputs import Inputs, with_sizes

__all__ = ["known_dimensions", "signature", "varies_in", "with_onnx"]

Row = dict[str, Any]


def known_dimensions(model: nn.Module, program: Program) -> list[Row]:
    """One row for every dimension of every input."""
    return [
        {
            "input": str(dimension),
            "size": dimension.size,
            "original": varies_in(model, program.example, dimension, program.dimensions),
            "name": dimension.name,
            "multiple": dimension.multiple,
            "reason": dimension.reason,
        }
        for dimension in program.dimensions
    ]


def varies_in(model: nn.Module, inputs: Inputs, one: Dimension, every: Sequence[Dimension]) -> bool:
    """Whether the model runs where ``one`` of ``every`` dimension has another size than in ``inputs``."""
    return any(
        _runs(model, with_sizes(inputs, [replace(item, name="tried") for item in together], {"tried": size}))
        for size in _others(one.size)
        for together in _together(one, every)
    )


def _others(size: int) -> Iterator[int]:
    """A neighbour first, since few sizes must be multiples; then sizes that keep their divisors."""
    yield from dict.fromkeys(other for other in (size + 1, 2 * size, size // 2) if other not in (0, size))


def _together(one: Dimension, every: Iterable[Dimension]) -> list[list[Dimension]]:
    """Alone; with the same dimension of other inputs, with all of its size, with all of its name."""
    same = [item for item in every if item.size == one.size]
    sets = [
        [one],
        [item for item in same if item.dim == one.dim],
        same,
        [item for item in same if item.name == one.name != ""],
    ]
    return [group for i, group in enumerate(sets) if one in group and group not in sets[:i]]


def _runs(model: nn.Module, inputs: Inputs) -> bool:
    try:
        with left_as_it_was(model):  # it may keep what it computes
            model(*inputs[0], **inputs[1])
    except Exception:  # whatever a model's code raises
        return False
    return True


def signature(path: Path) -> list[list[str | int]]:
    """The shape of every input of an ONNX file: names of dimensions that vary, sizes of the others."""
    import onnx

    inputs = onnx.load(str(path), load_external_data=False).graph.input
    return [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in inputs]


def with_onnx(
    rows: Sequence[Row], shapes: Sequence[Sequence[str | int]], fixed: Mapping[str, str]
) -> list[Row]:
    """The rows, each with what the ONNX file says of it; inputs come in the same order in both.

    Args:
        fixed: dimensions that vary in PyTorch alone → why.
    """
    sizes = [size for shape in shapes for size in shape]
    if len(sizes) != len(rows):  # the exporter leaves out what the model does not read
        return list(rows)
    return [
        {**row, "onnx": isinstance(size, str), "onnx_reason": fixed.get(row["input"], "")}
        for row, size in zip(rows, sizes, strict=True)
    ]


def main() -> None:
    """One line per model, without pruning any: much faster than `coverage.py`, which keeps the same figures."""
    import argparse

    from coverage_models import LISTS, names

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("models", nargs="*", help="LIST:NAME")
    parser.add_argument("--list", action="append", choices=LISTS, default=[], help="every model of a list")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth model")
    parser.add_argument("--onnx", action="store_true", help="convert the whole model to ONNX too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for name in [*options.models, *(name for which in options.list for name in names(which))][
        :: options.every
    ]:
        try:
            rows = _measured(name, options.onnx)
        except Exception as error:  # any failure is a line
            print(f"{name}: FAILED: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
            continue
        found += rows
        print(f"{name}: {_told(rows)}", flush=True)
        for row in rows:
            if row["original"] and not row["name"]:
                print(f"    {row['input']} is fixed at {row['size']}: {row['reason']}", flush=True)
    print(f"all: {_told(found)}")


def _measured(name: str, onnx: bool) -> list[Row]:
    from coverage_models import build

    from graphprune.capture import capture
    from graphprune.capture.raising import raise_program
    from graphprune.ground.clock import Clock
    from graphprune.results.onnx_checks import write_checked

    torch.manual_seed(0)
    model, args, kwargs, outputs = build(name)
    program = capture(model, (args, kwargs), outputs)
    rows = known_dimensions(model, program)
    if onnx:
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            written, _ = write_checked(program, raise_program(program), path, Clock(lambda stage: None))
            rows = with_onnx(rows, signature(path), written.fixed)
    return rows


def _told(rows: Sequence[Row]) -> str:
    known = [row for row in rows if row["original"]]
    vary, files = sum(bool(row["name"]) for row in known), [row["onnx"] for row in known if "onnx" in row]
    return f"{vary} of {len(known)} vary" + (f", {sum(files)} of {len(files)} in ONNX" if files else "")


if __name__ == "__main__":
    main()
