"""Rows for the operators of `graphprune.axes.rules.windows` and `creation`."""

from __future__ import annotations

import torch
from draws import integers, on, rows, shape, size, x

__all__ = ["ROWS"]

_ONE, _TWO, _THREE = x("b c 6"), x("b c 6 5"), x("b c 4 6 5")

_POOLS = [
    *rows("max_pool1d", on(_ONE, [2]), on(_ONE, [3], [1], [1]), on(x("c 6"), [2])),
    *rows("max_pool2d", on(_TWO, [2, 2]), on(_TWO, [3, 3], [1], [1]), on(x("c 6 6"), [2, 2])),
    *rows("max_pool3d", on(_THREE, [2, 2, 2]), on(_THREE, [3, 3, 3], [1], [1])),
    *rows("avg_pool1d", on(_ONE, [2])),
    *rows("avg_pool2d", on(_TWO, [2, 2])),
    *rows("avg_pool3d", on(_THREE, [2, 2, 2])),
    *rows("max_pool2d_with_indices", on(_TWO, [2, 2])),
    *rows("adaptive_avg_pool1d adaptive_max_pool1d", on(_ONE, [2])),
    *rows("adaptive_avg_pool2d adaptive_max_pool2d", on(_TWO, [2, 2]), on(_TWO, [1, 1])),
    *rows("adaptive_avg_pool3d adaptive_max_pool3d", on(_THREE, [2, 2, 2])),
    *rows("avg_pool1d max_pool1d", on(x("b c h"), [1])),
    *rows("avg_pool2d max_pool2d", on(x("b 6 w"), [2, 1]), on(x("b c h 6"), [1, 3], [1, 2], [0, 1])),
    *rows("avg_pool3d max_pool3d", on(x("b c 6 h w"), [2, 1, 1], [])),
    # one step in two is left out, or one in front is new
    *rows("avg_pool2d max_pool2d", on(_TWO, [1], [2]), on(x("b c 5 7"), [1, 3], [1], [0, 1]), note="apart "),
    *rows("max_pool2d_with_indices", on(_TWO, [2, 1])),
    *rows("adaptive_avg_pool1d adaptive_max_pool1d", on(x("b c h"), [size("h")]), note="whole"),
    *rows("adaptive_avg_pool2d adaptive_max_pool2d", on(x("b c 6 w"), [3, size("w")]), note="whole"),
    *rows("adaptive_avg_pool3d", on(x("b c 4 h w"), [1, size("h"), size("w")]), note="whole"),
]

_UNPOOLED = [
    *rows("max_pool1d_with_indices", on(_ONE, [2])),
    *rows("max_pool3d_with_indices", on(_THREE, [2, 2, 2])),
    *rows("max_unpool2d", on(x("b c 2 2"), integers("b c 2 2", 16), [4, 4])),
    *rows("max_unpool3d", on(x("b c 1 2 2"), integers("b c 1 2 2", 32), [2, 4, 4], [2, 2, 2], [0, 0, 0])),
    *rows(
        "fractional_max_pool2d",
        on(x("b c 12 11"), [2, 2], [3, 3], x("b c 2", "unit")),
        on(x("c 13 12"), [2, 2], [3, 3], x("1 c 2", "unit")),
    ),
    *rows("fractional_max_pool3d", on(x("b c 9 9 9"), [2, 2, 2], [3, 3, 3], x("b c 3", "unit"))),
    *rows("affine_grid_generator", on(x("2 2 3"), [2, 3, 4, 5], False)),
]

_REGIONS = torch.tensor(
    [[0, 0.2, 0.5, 4, 5], [1, 1, 1, 5.5, 3], [1, 0, 2, 3, 4], [0, 2, 2, 6, 5]], dtype=torch.float64
)

_RESIZED = [
    *rows("upsample_linear1d", on(_ONE, [9], False)),
    *rows("upsample_nearest1d _upsample_nearest_exact1d", on(_ONE, [12])),
    *rows("upsample_bilinear2d upsample_bicubic2d", on(_TWO, [9, 9], False)),
    *rows("_upsample_bilinear2d_aa _upsample_bicubic2d_aa", on(_TWO, [9, 9], False)),
    *rows("upsample_nearest2d _upsample_nearest_exact2d", on(_TWO, [12, 10])),
    *rows("upsample_nearest2d.vec", on(_TWO, None, [2.0, 2.0])),
    *rows("upsample_bilinear2d.vec", on(_TWO, [9, 9], False, None)),
    *rows("upsample_trilinear3d", on(_THREE, [5, 7, 7], True)),
    *rows("upsample_nearest3d _upsample_nearest_exact3d", on(_THREE, [8, 6, 5])),
    *rows("grid_sampler_2d", on(x("b c 5 6"), x("b 3 4 2"), 0, 0, False)),
    *rows("grid_sampler_3d", on(x("b c 3 4 5"), x("b 3 2 2 3"), 0, 0, False)),
    *rows(
        "grid_sampler",
        on(x("b c 5 6"), x("b 3 4 2"), 0, 0, False),
        on(x("b c 3 4 5"), x("b 3 2 2 3"), 0, 0, False),
    ),
]

_REARRANGED = [
    *rows(
        "pad",
        on(x("a b"), [1, 2]),
        on(x("a b c"), [0, 0, 2, 3], "constant", 0.5),
        on(x("a b 5"), [2, 1], "reflect"),
        on(x("a 6"), [-1, 2]),
        on(x("a b"), [0, 3]),
    ),
    *rows("constant_pad_nd", on(x("a b c"), [1, 0, 0, 2], 1.5)),
    *rows("pixel_shuffle", on(x("b (c 4) 3 2"), 2), on(x("(c 9) 2 2"), 3)),
    *rows("pixel_unshuffle", on(x("b c 4 6"), 2)),
    *rows("channel_shuffle", on(x("b (g k) h w"), size("g")), on(x("b g h"), size("g"))),
    *rows(
        "im2col",
        on(x("b c 4 5"), [2, 3], [1, 1], [0, 0], [1, 1]),
        on(x("c 4 5"), [2, 2], [1, 1], [1, 0], [2, 1]),
    ),
    *rows(
        "col2im",
        on(x("b (c 6) 9"), [4, 5], [2, 3], [1, 1], [0, 0], [1, 1]),
        on(x("(c 4) 8"), [4, 5], [2, 2], [1, 1], [0, 0], [2, 1]),
    ),
    *rows(
        "unfold",
        on(x("a 7 b"), 1, 3, 2),
        on(x("a b (n 3)"), -1, 3, 3),
        on(x("(n 2) a"), 0, 2, 2),
        on(x("a n"), 1, 1, 1),
        on(x("a 7"), 1, 3, 3),
    ),
    *rows("torchvision.roi_align.default", on(x("2 c 6 7"), _REGIONS, 1.0, 2, 3, 2, True)),
]

_CREATED = [
    *rows("zeros ones", on(shape("a b"))),
    *rows("full", on(shape("a b"), 1.5)),
    *rows("empty.memory_format", on(shape("a b")), random=True),
    *rows("new_zeros new_ones", on(x("a b"), shape("a c"))),
    *rows("new_full", on(x("a b"), shape("a c"), 1.5)),
    *rows("new_empty", on(x("a b"), shape("a c")), random=True),
    *rows("scalar_tensor", on(1.5)),
    *rows("arange", on(size("a"))),
    *rows("arange.start_step", on(1, 9, 2)),
    *rows("linspace", on(0.0, 1.0, 5)),
    *rows("range.step", on(1, 9, 2)),
    *rows("logspace", on(0.0, 1.0, 5)),
    *rows("bartlett_window blackman_window hamming_window hann_window kaiser_window", on(size("a"))),
    *rows("tril_indices triu_indices", on(size("a"), size("b"))),
    *rows("fft_fftfreq fft_rfftfreq", on(size("a"))),
    *rows("as_strided as_strided_", on(x("3 4"), [2, 2], [4, 1])),
    *rows("as_strided_scatter", on(x("3 4"), x("2 2"), [2, 2], [4, 1])),
    *rows("empty_strided", on([2, 3], [3, 1]), random=True),
    *rows("empty_permuted", on([2, 3], [1, 0]), random=True),
    *rows("new_empty_strided", on(x("a b"), [2, 3], [3, 1]), random=True),
    *rows("eye", on(size("a"))),
    *rows("eye.m", on(size("a"), size("b"))),
]

ROWS = [*_POOLS, *_UNPOOLED, *_RESIZED, *_REARRANGED, *_CREATED]
