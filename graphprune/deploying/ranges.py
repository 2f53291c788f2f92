"""The least and largest number of every floating value of a file on examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphprune.deploying.examples import Feed
from graphprune.deploying.shaping import quiet
from graphprune.ground.errors import ExportError, first_line
from graphprune.ground.files import scratch

__all__ = ["ranges", "reader"]


def reader(feeds: Sequence[Feed]) -> Any:
    """The feeds as onnxruntime's quantisation reads them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> Feed | None:
            return next(self.left, None)

    return Reader()


def ranges(file: Path, feeds: Sequence[Feed]) -> Mapping[str, float]:
    """Value of a file → the largest of its numbers on the feeds, without their signs.

    Raises:
        ExportError: onnxruntime cannot run the file with all its values as outputs.
    """
    import onnx
    from onnxruntime.quantization import create_calibrator

    operators = sorted({node.op_type for node in onnx.load(file, load_external_data=False).graph.node})
    with scratch() as folder, quiet():
        try:
            calibrator = create_calibrator(
                file,
                operators,
                augmented_model_path=str(folder / "ranges.onnx"),
                use_external_data_format=True,
            )
            calibrator.collect_data(reader(feeds))
            found = calibrator.compute_data().data
        except Exception as error:  # of onnxruntime, without a common base class
            raise ExportError(
                f"the ranges of the file's values cannot be found: {first_line(error, 200)}",
                "give other calibration data",
            ) from error
    return {name: _largest(item.range_value) for name, item in found.items()}


def _largest(ends: Sequence[Any]) -> float:
    return max(float(abs(end).max()) for end in ends)
