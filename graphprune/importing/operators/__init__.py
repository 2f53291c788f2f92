"""The operators of ONNX in PyTorch, by family."""
