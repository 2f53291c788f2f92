"""What onnxruntime on this machine likes and takes: liked widths, and costs that only a file can tell."""

from graphprune.profiling.original import Profile, profile
from graphprune.profiling.widths import liked_multiples

__all__ = ["Profile", "liked_multiples", "profile"]
