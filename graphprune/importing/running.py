"""Files in onnxruntime with all their values, and files whose nodes are run one by one on given values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphprune.exporting.runtime import fed, session
from graphprune.ground.errors import VerificationError, first_line
from graphprune.ground.files import scratch
from graphprune.importing.writing import is_large, write_model

__all__ = ["REPORT", "Array", "apart", "values_of"]

Array = np.ndarray[Any, Any]
REPORT = "nothing was written; please report the file"
COMPUTED = "/computed"


def values_of(model: Any, feed: Mapping[str, Array], names: Iterable[str], what: str) -> dict[str, Array]:
    """The values of these names in a run of a file (onnx.ModelProto), whatever its outputs are.

    Args:
        what: the file, in the message.

    Raises:
        VerificationError: onnxruntime does not run it.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    names = list(names)
    del made.graph.output[:]
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        loaded = _loaded(made)
        results = loaded.run(names, fed(loaded, feed))
    except Exception as error:  # onnxruntime's errors have no common base class
        raise VerificationError(f"{what} does not run: {first_line(error, 300)}", REPORT) from error
    # what has no dimension comes as a number
    return dict(zip(names, map(np.asarray, results), strict=True))


def _loaded(model: Any) -> Any:
    """A session of a file, which is written for it where it is too large for one message."""
    if not is_large(model):
        return session(model.SerializeToString(), as_written=True)
    with scratch() as folder:
        write_model(model, folder / "model.onnx")
        return session(folder / "model.onnx", as_written=True)


def apart(model: Any, given: Mapping[str, Array]) -> tuple[Any, dict[str, str]]:
    """A file of the same nodes, each of which reads the ``given`` values in the place of what other nodes compute.

    So a node that is wrong is found where it is, and rounding does not add up along the way.

    Returns:
        The file, whose inputs they are, and under which name each is computed.
    """
    import onnx
    from onnx import helper

    made = onnx.ModelProto()
    made.CopyFrom(model)
    names = {}
    for node in made.graph.node:
        for place, name in enumerate(node.output):
            if name in given:
                names[name] = node.output[place] = f"{name}{COMPUTED}"
    del made.graph.value_info[:]
    made.graph.input.extend(
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(given[name].dtype), given[name].shape
        )
        for name in names
    )
    return made, names
