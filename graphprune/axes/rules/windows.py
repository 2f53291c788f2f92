"""Operators whose windows, grids or positions make spatial dimensions stay, while channels pass through."""

from __future__ import annotations

from functools import partial
from math import isqrt
from typing import Any

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Along, Dims, Rule, Table, each, last, stays
from graphprune.axes.signature import Signature
from graphprune.capture.operations import Size

__all__ = ["RULES"]

_SLIDES = "a window slides along this dimension"


def _windows(spatial: int, call: Call) -> list[int]:
    """Windows of a single position, one step apart, are none; where positions are returned they count."""
    first = len(call["self"].dims) - spatial
    several = len(call.outputs) > 1
    places = (
        place for place in range(spatial) if several or not _is_single(call, first + place, place, spatial)
    )
    return [first + place for place in places]


def _is_single(call: Call, dim: int, place: int, spatial: int) -> bool:
    """Whether the result has each position of ``dim`` as it was."""
    if "output_size" in call.arguments:
        return call["self"].shape[dim] == call.output.shape[dim]
    kernel, stride, padding = (
        _each(call.get(name), spatial)[place] for name in ("kernel_size", "stride", "padding")
    )
    return (kernel, stride or kernel, padding or 0) == (1, 1, 0)


def _each(given: Any, spatial: int) -> list[Any]:
    """One number for each dimension, where one may stand for all and none for the default."""
    numbers = list(given) if isinstance(given, list | tuple) else [given]
    return numbers * spatial if len(numbers) == 1 else numbers or [None] * spatial


def pad(call: Call) -> None:
    """Padded dimensions are ``before + x + after``; filled by reflection or repetition they stay."""
    source, amounts = call["self"], list(call["pad"])
    for index, (axis, result) in enumerate(zip(source.dims[::-1], call.output.dims[::-1], strict=True)):
        before, after = (*amounts[2 * index : 2 * index + 2], 0, 0)[:2]
        if isinstance(before, Size) or isinstance(after, Size):
            call.pin((axis, result), "padding depends on the sizes of the inputs")
        elif not before and not after:
            call.unify(result, axis)
        elif call.get("mode", "constant") == "constant" and before >= 0 and after >= 0:
            blank = (call.equations.atom(before), axis, call.equations.atom(after))
            call.unify(result, call.equations.sum(blank))
        else:
            call.pin((axis, result), "padding copies from its neighbours")


def pixel_shuffle(call: Call) -> None:
    """Channels ``(c r r)`` become channels ``c``, or the reverse; the factor stays."""
    few, many = sorted((call["self"].dims, call.output.dims), key=lambda dims: dims[-3].size)
    factor = isqrt(many[-3].size // few[-3].size)
    rows, columns = call.equations.atom(factor), call.equations.atom(factor)
    call.pin((rows, columns, *many[-2:], *few[-2:]), "pixels are shuffled between channels and positions")
    call.unify(many[-3], call.equations.product((few[-3], rows, columns)))
    call.unify_all(many[:-3], few[:-3])


def columns(call: Call) -> None:
    """``im2col``: (b, c, h, w) becomes (b, (c k), n), ``k`` within a window; ``col2im`` is the reverse."""
    columns, image = sorted((call["self"], call.output), key=lambda operand: len(operand.dims))
    kernel = call.equations.atom(columns.shape[-2] // image.shape[-3])
    call.pin((kernel, *image.dims[-2:], columns.dims[-1]), _SLIDES)
    call.unify(columns.dims[-2], call.equations.product((image.dims[-3], kernel)))
    call.unify_all(image.dims[:-3], columns.dims[:-2])
    call.across.extend((image.dims[-3], other) for other in (*image.dims[-2:], columns.dims[-1]))


def unfold(call: Call) -> None:
    """``x.unfold(dim, size, step)``: windows' elements in a new last dimension; side by side they are ``(n k)``."""
    source, output = call["self"], call.output
    along = call.dimension(source, call["dimension"])
    call.unify_all(source.dims, output.dims[:-1], but=[along])
    elements, positions, result = output.dims[-1], source.dims[along], output.dims[along]
    call.pin(elements, _SLIDES)
    if call["step"] == call["size"] and result.size * elements.size == positions.size:
        call.unify(positions, call.equations.product((result, elements)))
    else:
        call.pin((positions, result), _SLIDES)


_GRID = Signature(
    "b c x*, b s+ k -> b c s+", ("input", "grid"), window="positions are gathered along this dimension"
)


def grid_sampler(call: Call) -> None:
    """The result has the grid's positions; the grid's last dimension holds coordinates."""
    _GRID(call)
    call.pin(call["grid"].dims[-1], "coordinates of positions")


def roi_align(call: Call) -> None:
    """Regions of images (b, c, h, w) as (k, c, h, w); a region is a row of ``rois``."""
    image, regions, output = call["input"], call["rois"], call.output
    call.pin((image.dims[0], *image.dims[2:], regions.dims[1], *output.dims[2:]), "regions are data")
    call.unify(output.dims[0], regions.dims[0])
    call.unify(output.dims[1], image.dims[1])
    call.lined_up(image, (0, 2, 3))


def unpool(spatial: int, call: Call) -> None:
    """Every value goes back to its place in an image of ``output_size``."""
    source, output = call["self"], call.output
    lead = len(source.dims) - spatial
    call.unify_all(source.dims, call["indices"].dims)
    call.unify_all(source.dims[:lead], output.dims[:lead])
    call.pin((*source.dims[lead:], *output.dims[lead:]), "values are put where windows had their largest")


def fractional(spatial: int, call: Call) -> None:
    """Windows at random places; the places are an input, by example and channel."""
    source, samples = call["self"], call["random_samples"]
    lead = source.dims[:-spatial]
    for output in call.outputs:
        call.unify_all(output.dims[:-spatial], lead)
        call.pin(output.dims[-spatial:], _SLIDES)
    call.pin((*source.dims[-spatial:], samples.dims[-1]), _SLIDES)
    call.unify_all(samples.dims[2 - len(lead) : 2], lead)


_POOLS = "max_pool{0}d avg_pool{0}d adaptive_avg_pool{0}d adaptive_max_pool{0}d"


def _sliding(dims: Dims) -> Rule:
    return Along(dims, _SLIDES, mixed=True)


RULES: Table = {
    **each("upsample_linear1d upsample_nearest1d _upsample_nearest_exact1d", _sliding(last(1))),
    **each(
        "upsample_bilinear2d upsample_nearest2d upsample_bicubic2d _upsample_nearest_exact2d "
        "_upsample_bilinear2d_aa _upsample_bicubic2d_aa",
        _sliding(last(2)),
    ),
    **each("upsample_trilinear3d upsample_nearest3d _upsample_nearest_exact3d", _sliding(last(3))),
    **{
        name: rule
        for n in (1, 2, 3)
        for name, rule in each(_POOLS.format(n), _sliding(partial(_windows, n))).items()
    },
    **{f"aten.max_pool{n}d_with_indices": _sliding(partial(_windows, n)) for n in (1, 2, 3)},
    **{f"aten.max_unpool{n}d": partial(unpool, n) for n in (2, 3)},
    **{f"aten.fractional_max_pool{n}d": partial(fractional, n) for n in (2, 3)},
    "aten.affine_grid_generator": stays("coordinates of positions"),
    **each("grid_sampler grid_sampler_2d grid_sampler_3d", grid_sampler),
    **each("pad constant_pad_nd", pad),
    **each("pixel_shuffle pixel_unshuffle", pixel_shuffle),
    "aten.channel_shuffle": Signature("b (g k) s+ -> b (k g) s+", ("self",), {"g": "groups"}),
    **each("im2col col2im", columns),
    "aten.unfold": unfold,
    "torchvision.roi_align": roi_align,
}
