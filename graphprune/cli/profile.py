"""``graphprune profile``: models to be timed on the device that counts."""

from __future__ import annotations

from rich.text import Text

import graphprune as gp
from graphprune.cli.models import resolve
from graphprune.cli.onnx_file import parse_given
from graphprune.cli.output import print_result, silence, stdout_is_kept
from graphprune.cli.progress import stages
from graphprune.cli.request_export import ProfileRequest
from graphprune.cli.shapes import parse_dynamic, parse_shapes

__all__ = ["profile"]


def profile(request: ProfileRequest) -> None:
    """Writes the kit, and says what to do with it.

    Raises:
        GraphpruneError: see `graphprune.write_kit`.
    """
    with stages(request.quiet) as progress:
        progress("build the model")
        with stdout_is_kept():
            given = parse_given(request.input, request.feed)
            shapes = parse_shapes(request.input_shape)
            source = resolve(request.model, request.weights, shapes, request.seed, given)
        progress("capture")
        with silence():
            graph = gp.trace(source.model, source.inputs, dynamic=parse_dynamic(request.dynamic))
            files = gp.write_kit(graph, None, request.kit, request.batch, request.force, progress)
    said = (
        f"Written to {request.kit}: {sum(name.endswith('.onnx') for name in files)} models",
        f"On the device: python {request.kit.name}/time_kit.py (onnxruntime is all it needs; --help says more)",
        f"Then here: graphprune shrink {source.spec} --latency 0.5 --times times.json -o slim",
    )
    document = {"directory": str(request.kit), "files": files}
    print_result(document, map(Text, said), request.json, request.quiet)
