"""Operators whose windows, grids or positions make spatial dimensions stay, while channels pass through."""

from __future__ import annotations

from functools import partial

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call
from graphprune.axes.rules.table import Table
from graphprune.axes.signature import Signature, apply_signature

__all__ = ["RULES"]

_WINDOWED = {
    1: "max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d upsample_linear1d upsample_nearest1d",
    2: "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d upsample_bilinear2d upsample_nearest2d "
    "upsample_bicubic2d _upsample_nearest_exact2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa "
    "max_pool2d_with_indices",
    3: "max_pool3d avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d upsample_trilinear3d upsample_nearest3d",
}


def window(spatial: int, call: Call) -> None:
    """The last ``spatial`` dimensions are windows; all leading ones pass through."""
    source = next(call.operands())
    for output in call.outputs:
        call.pin((*source.dims[-spatial:], *output.dims[-spatial:]), "a window slides along this dimension")
        for axis, other in zip(output.dims[:-spatial], source.dims[:-spatial], strict=True):
            call.unify(axis, other)


def pad(call: Call) -> None:
    """Padded dimensions are ``before + x + after``; filled by reflection or repetition they stay."""
    source, amounts = call["self"], list(call["pad"])
    for index, (axis, result) in enumerate(zip(source.dims[::-1], call.output.dims[::-1], strict=True)):
        before, after = (*amounts[2 * index : 2 * index + 2], 0, 0)[:2]
        if not before and not after:
            call.unify(result, axis)
        elif call.get("mode", "constant") == "constant" and before >= 0 and after >= 0:
            blank = (call.equations.atom(before), axis, call.equations.atom(after))
            call.unify(result, call.equations.sum(blank))
        else:
            call.pin((axis, result), "padding copies from its neighbours")


def pixel_shuffle(call: Call) -> None:
    """Channels ``(c r r)`` become channels ``c``; the factor stays."""
    factor = int(call["upscale_factor"])
    _shuffle(call, call["self"].dims, call.output.dims, factor)


def pixel_unshuffle(call: Call) -> None:
    """Channels ``c`` become ``(c r r)``; the factor stays."""
    factor = int(call["downscale_factor"])
    _shuffle(call, call.output.dims, call["self"].dims, factor)


def _shuffle(call: Call, many: tuple[Axis, ...], few: tuple[Axis, ...], factor: int) -> None:
    rows, columns = call.equations.atom(factor), call.equations.atom(factor)
    call.pin((rows, columns, *many[-2:], *few[-2:]), "pixels are shuffled between channels and positions")
    call.unify(many[-3], call.equations.product((few[-3], rows, columns)))
    for axis, other in zip(many[:-3], few[:-3], strict=True):
        call.unify(axis, other)


def channel_shuffle(call: Call) -> None:
    """Channels ``(g k)`` become ``(k g)``."""
    source, groups = call["self"], int(call["groups"])
    g, k = call.equations.atom(groups), call.equations.atom(source.shape[1] // groups)
    call.unify(source.dims[1], call.equations.product((g, k)))
    call.unify(call.output.dims[1], call.equations.product((k, g)))
    for index, (axis, other) in enumerate(zip(call.output.dims, source.dims, strict=True)):
        if index != 1:
            call.unify(axis, other)


def unfold(call: Call) -> None:
    """``im2col``: (b, c, h, w) becomes (b, (c k), n) with the window's elements in ``k``."""
    source, output = call["self"], call.output
    kernel = call.equations.atom(output.shape[-2] // source.shape[-3])
    call.pin((kernel, *source.dims[-2:], output.dims[-1]), "a window slides along this dimension")
    call.unify(output.dims[-2], call.equations.product((source.dims[-3], kernel)))
    if len(source.dims) == 4:
        call.unify(source.dims[0], output.dims[0])


_GRID = Signature(
    "b c x*, b s+ k -> b c s+", ("input", "grid"), window="positions are gathered along this dimension"
)


def grid_sampler(call: Call) -> None:
    """The result has the grid's positions; the grid's last dimension holds coordinates."""
    apply_signature(_GRID, call)
    call.pin(call["grid"].dims[-1], "coordinates of positions")


RULES: Table = {
    **{
        f"aten.{name}": partial(window, spatial)
        for spatial, names in _WINDOWED.items()
        for name in names.split()
    },
    "aten.grid_sampler": grid_sampler,
    "aten.pad": pad,
    "aten.constant_pad_nd": pad,
    "aten.pixel_shuffle": pixel_shuffle,
    "aten.pixel_unshuffle": pixel_unshuffle,
    "aten.channel_shuffle": channel_shuffle,
    "aten.im2col": unfold,
}
