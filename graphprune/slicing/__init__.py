"""Cuts the tensors of an ONNX file by a plan; all else of the file stays as it is."""
