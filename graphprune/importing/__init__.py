"""ONNX files as modules that can be captured, their nodes as submodules."""
