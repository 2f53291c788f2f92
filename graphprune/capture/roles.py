"""What the tensor arguments of layers are: the input, the weight, the bias, the statistics. One row per operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ROLES"]


@dataclass(frozen=True)
class Roles:
    """Names of an operator's arguments in its schema; empty where it has none.

    Args:
        kind: "convolution", "transposed" (convolution), "linear" (the weight is [outputs, inputs]), "product" (the
            weight is [inputs, outputs]), "batch norm", "norm", "table" (rows are looked up) or "scale".
        source: the tensor that runs through the layer.
        weight: what it is multiplied with, or looked up in.
        bias: what is added.
        statistics: running mean and running variance.
    """

    kind: str
    source: str
    weight: str
    bias: str = ""
    statistics: tuple[str, ...] = ()

    @property
    def stored(self) -> tuple[str, ...]:
        """The tensors that are a layer's own, in the order of the schema."""
        return (self.weight, *([self.bias] if self.bias else []), *self.statistics)


def _affine(kind: str, *statistics: str) -> Roles:
    return Roles(kind, "input", "weight", "bias", statistics)


_BATCH_NORM = _affine("batch norm", "running_mean", "running_var")

ROLES: Mapping[str, Roles] = {
    **{f"aten.conv{rank}d": _affine("convolution") for rank in (1, 2, 3)},
    **{f"aten.conv_transpose{rank}d": _affine("transposed") for rank in (1, 2, 3)},
    "aten.linear": _affine("linear"),
    "aten.addmm": Roles("product", "mat1", "mat2", "self"),
    "aten.baddbmm": Roles("product", "batch1", "batch2", "self"),
    "aten.mm": Roles("product", "self", "mat2"),
    "aten.bmm": Roles("product", "self", "mat2"),
    "aten.matmul": Roles("product", "self", "other"),
    "aten.batch_norm": _BATCH_NORM,
    "aten._native_batch_norm_legit_no_training": _BATCH_NORM,
    "aten.cudnn_batch_norm": _BATCH_NORM,
    "aten.instance_norm": _affine("norm", "running_mean", "running_var"),
    "aten.layer_norm": _affine("norm"),
    "aten.group_norm": _affine("norm"),
    "aten.rms_norm": Roles("norm", "input", "weight"),
    "aten.embedding": Roles("table", "indices", "weight"),
    "aten.prelu": Roles("scale", "self", "weight"),
}
