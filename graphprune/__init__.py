"""graphprune: a structural pruning compiler for PyTorch and ONNX."""
