"""What is measured with onnxruntime on this machine: widths that it runs fast, and a model's file size and latency."""

from graphprune.profiling.original import Profile, profile
from graphprune.profiling.widths import liked_multiples

__all__ = ["Profile", "liked_multiples", "profile"]
