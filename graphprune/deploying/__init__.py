"""An ONNX file → files for where it will run: names, sizes, operators' version, half precision, 8 bits."""

from graphprune.deploying.deploy import FLOAT, HALF, INT8, deploy_files
from graphprune.deploying.examples import Examples

__all__ = ["FLOAT", "HALF", "INT8", "Examples", "deploy_files"]
