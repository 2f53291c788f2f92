"""Weights in the files that Hugging Face's libraries write: read and written one tensor at a time."""

from graphprune.weights.forms import Form, form_of
from graphprune.weights.shards import Shards
from graphprune.weights.writing import write_shards

__all__ = ["Form", "Shards", "form_of", "write_shards"]
