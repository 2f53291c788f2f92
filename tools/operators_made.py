"""Functions of PyTorch that are written in Python, each with a call: a captured graph holds what they are made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MADE", "operators_of"]

_Call = tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]


def _cast(name: str) -> _Call:
    return lambda x: getattr(x, name)(), ((3, 4),)


def _attention(x: Tensor, rows: Tensor, weight: Tensor) -> Any:
    bias = rows.new_zeros(12)
    return F.multi_head_attention_forward(
        x, x, x, 4, 2, rows, bias, None, None, False, 0.0, weight, None, training=False
    )


_POOLED = {
    f"adaptive_max_pool{n}d_with_indices": (
        lambda x, n=n: (
            F.adaptive_max_pool1d(x, 2, True) if n == 1 else getattr(F, f"adaptive_max_pool{n}d")(x, 2, True)
        ),
        ((1, 2, *[6] * n),),
    )
    for n in (1, 2, 3)
}

# name → a call of it, and the shapes of its tensors
MADE: Mapping[str, _Call] = {
    **_POOLED,
    **{
        name: _cast(name)
        for name in "bfloat16 bool byte cdouble cfloat char double float half int long short".split()
    },
    **{
        f"dropout{n}d": (lambda x, n=n: getattr(F, f"dropout{n}d")(x, 0.5, False), ((1, 2, *[4] * n),))
        for n in (1, 2, 3)
    },
    **{
        f"lp_pool{n}d": (lambda x, n=n: getattr(F, f"lp_pool{n}d")(x, 2, 2), ((1, 2, *[6] * n),))
        for n in (1, 2, 3)
    },
    **{
        f"fractional_max_pool{n}d_with_indices": (
            lambda x, u, n=n: getattr(F, f"fractional_max_pool{n}d_with_indices")(
                x, 2, output_size=3, _random_samples=u
            ),
            ((1, 2, *[7] * n), (1, 2, n)),
        )
        for n in (2, 3)
    },
    "affine_grid": (lambda x: F.affine_grid(x, [2, 3, 4, 5], False), ((2, 2, 3),)),
    "cpu": _cast("cpu"),
    "cross_entropy": (lambda x: F.cross_entropy(x, torch.zeros(3, dtype=torch.long)), ((3, 4),)),
    "fold": (lambda x: F.fold(x, (4, 5), (2, 2)), ((1, 8, 12),)),
    "grid_sample": (lambda x, y: F.grid_sample(x, y, align_corners=False), ((1, 2, 4, 4), (1, 3, 3, 2))),
    "grouped_mm": (
        lambda x, y: F.grouped_mm(x.bfloat16(), y.bfloat16(), offs=torch.tensor([8, 16], dtype=torch.int32)),
        ((16, 16), (2, 16, 16)),
    ),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2), ((1, 2, 4, 4),)),
    "linear_cross_entropy": (
        lambda x, w: F.linear_cross_entropy(x, w, torch.zeros(3, dtype=torch.long)),
        ((3, 4), (5, 4)),
    ),
    "local_response_norm": (lambda x: F.local_response_norm(x, 2), ((1, 4, 6),)),
    "logsigmoid": (F.logsigmoid, ((3, 4),)),
    "lu": (lambda x: x.lu(), ((3, 3),)),
    "max_unpool1d": (
        lambda x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2),
        ((1, 2, 6),),
    ),
    "multi_head_attention_forward": (_attention, ((3, 2, 4), (12, 4), (4, 4))),
    "multilabel_soft_margin_loss": (F.multilabel_soft_margin_loss, ((3, 4), (3, 4))),
    "normalize": (F.normalize, ((3, 4),)),
    "softmin": (lambda x: F.softmin(x, 1), ((3, 4),)),
    "softsign": (F.softsign, ((3, 4),)),
    "tanhshrink": (F.tanhshrink, ((3, 4),)),
    "triplet_margin_with_distance_loss": (F.triplet_margin_with_distance_loss, ((3, 4), (3, 4), (3, 4))),
    "unique": (lambda x: torch.unique(x), ((3, 4),)),
    "unravel_index": (lambda x: torch.unravel_index(x.long(), (3, 4)), ((3,),)),
    "upsample": (lambda x: F.upsample(x, scale_factor=2), ((1, 2, 4, 4),)),
    "upsample_bilinear": (lambda x: F.upsample_bilinear(x, scale_factor=2), ((1, 2, 4, 4),)),
    "upsample_nearest": (lambda x: F.upsample_nearest(x, scale_factor=2), ((1, 2, 4, 4),)),
}


class _Called(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def operators_of(name: str) -> list[str]:
    """The operators that an exported graph holds in the place of a function of `MADE`, as "aten.add.Tensor"."""
    function, shapes = MADE[name]
    tensors = tuple(torch.rand(shape) for shape in shapes)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are deprecated, and public all the same
        graph = torch.export.export(_Called(function), tensors, strict=False).graph
    found = (node.target for node in graph.nodes if isinstance(node.target, torch._ops.OpOverload))
    return list(dict.fromkeys(map(str, found)))
