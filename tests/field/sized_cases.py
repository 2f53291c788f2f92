"""The table of `test_sizes`: one row per model, with the sizes at which it must be right, and those it may refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sized_attention as attention
import sized_idioms as idioms
import sized_images as images
import sized_series as series
import sized_ways as ways
import sized_windows as windows
import torch
from torch import Tensor, nn

__all__ = ["CASES", "FIXED_IN_ONNX", "IDIOMS", "Case"]

Inputs = tuple[Any, ...]
Sizes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """A model, and the sizes it is to be tried at.

    Args:
        inputs: makes the arguments of a call of sizes by name.
        right: name → the size in the example, then others at which the slim model must be right, if the original runs.
        refused: name → sizes that a slim model may refuse, but not get wrong.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[..., Inputs]
    right: Sizes
    refused: Sizes = field(default_factory=dict)

    @property
    def example(self) -> dict[str, int]:
        return {name: sizes[0] for name, sizes in self.right.items()}

    def others(self) -> list[dict[str, int]]:
        """One size changed at a time, then all of them together."""
        alone = [self.example | {name: size} for name, sizes in self.right.items() for size in sizes[1:]]
        together = self.example | {name: sizes[-1] for name, sizes in self.right.items()}
        return [*alone, *([together] if together not in alone and alone else [])]

    def refusable(self) -> list[dict[str, int]]:
        return [self.example | {name: size} for name, sizes in self.refused.items() for size in sizes]


def image(b: int, h: int, w: int) -> Inputs:
    return (torch.randn(b, 3, h, w),)


def steps(b: int, t: int) -> Inputs:
    return (torch.randn(b, t, 6),)


def steps_last(b: int, t: int) -> Inputs:
    return (torch.randn(b, 6, t),)


def steps_first(b: int, t: int) -> Inputs:
    return (torch.randn(t, b, 6),)


def wave(b: int, t: int) -> Inputs:
    return (torch.randn(b, t),)


def tokens(b: int, t: int) -> Inputs:
    return (torch.randint(0, 40, (b, t)),)


def masked(b: int, t: int) -> Inputs:
    mask = torch.ones(b, t, dtype=torch.long)
    mask[0, t - t // 3 :] = 0
    return (*tokens(b, t), mask)


def cached(b: int, t: int, p: int) -> Inputs:
    keys: list[Tensor] = [torch.randn(b, attention.HEADS, p, attention.HEAD) for _ in range(2)]
    return (torch.randn(b, t, 6), tuple(keys))


def crossed(b: int, q: int, k: int) -> Inputs:
    return torch.randn(b, q, 6), torch.randn(b, k, 7)


def points(b: int, n: int) -> Inputs:
    return (torch.randn(b, n, 3),)


def edged(n: int, e: int) -> Inputs:
    return torch.randn(n, 6), torch.randint(0, n, (2, e))


def matrix(n: int) -> Inputs:
    return torch.randn(n, 6), torch.rand(n, n)


def two_images(b: int, h: int, w: int) -> Inputs:
    return torch.randn(b, 3, h, w), torch.randn(b, 3, h, w)


def timed(b: int, h: int, w: int) -> Inputs:
    return torch.randn(b, 3, h, w), torch.tensor(3.0)


def pairs(i: int, t: int) -> Inputs:
    return torch.randn(i, 6), torch.randn(t, 7)


BATCH = (2, 1, 3)
ANY = {"b": BATCH, "h": (32, 48, 37), "w": (32, 64, 41)}
FOURS = {"b": BATCH, "h": (32, 48, 24), "w": (32, 64, 40)}
EIGHTS = {"b": BATCH, "h": (32, 48, 16), "w": (32, 64, 40)}
LONG = {"b": BATCH, "t": (8, 12, 19, 1)}
EVEN = {"b": BATCH, "t": (8, 12, 20)}
BEYOND = {"t": (attention.TABLE + 1, 40)}

CASES: dict[str, Case] = {
    "interpolate to the input's size": Case(images.InterpolateToInput, image, ANY),
    "interpolate by a factor": Case(images.InterpolateByFactor, image, ANY),
    "interpolate to half by a float": Case(images.InterpolateToHalf, image, ANY),
    "pool to eighths, rounded up": Case(images.PoolToEighths, image, ANY),
    "ASPP": Case(images.Aspp, image, ANY),
    "UNet that pads": Case(partial(images.UNet, True), image, ANY),
    "UNet on multiples": Case(partial(images.UNet, False), image, FOURS, {"h": (34,), "w": (37,)}),
    "FPN": Case(images.Fpn, image, ANY),
    "mesh-grid anchors": Case(images.MeshGridHead, image, ANY),
    "SSD": Case(images.SsdHead, image, ANY),
    "YOLO": Case(images.YoloHead, image, EIGHTS, {"h": (37,), "w": (41,)}),
    "boxes normalised by a tensor of sizes": Case(images.NormalisedBoxes, image, ANY),
    "non-local attention": Case(images.NonLocal, image, ANY),
    "coordinates": Case(images.Coordinates, image, ANY),
    "a branch on the width": Case(images.Branch, image, {**ANY, "w": (32, 48, 40)}, {"w": (49, 64)}),
    "mean by numel": Case(images.MeanByHand, image, ANY),
    "flatten, linear": Case(
        images.FlattenLinear, image, {"b": BATCH, "h": (32,), "w": (32,)}, {"h": (48, 64), "w": (40, 64)}
    ),
    "adaptive pool, linear": Case(images.AdaptivePool, image, ANY),
    "pixel shuffle": Case(images.PixelShuffle, image, FOURS, {"h": (38,), "w": (37,)}),
    "unfold, fold": Case(images.UnfoldFold, image, ANY),
    "pad to eighths, crop": Case(images.PadAndCrop, image, ANY),
    "spatial transformer": Case(images.SpatialTransformer, image, ANY),
    "a loop over the batch": Case(images.BatchLoop, image, {**ANY, "b": (2,)}, {"b": (1, 3)}),
    "SDPA, contiguous, view": Case(partial(attention.Encoder, "view"), steps, LONG),
    "SDPA, reshape": Case(partial(attention.Encoder, "reshape"), steps, LONG),
    "SDPA, flatten": Case(partial(attention.Encoder, "flatten"), steps, LONG),
    "causal by a flag": Case(partial(attention.Decoder, None), tokens, LONG),
    "causal by arange": Case(partial(attention.Decoder, attention.by_arange), tokens, LONG),
    "causal by full, triu": Case(partial(attention.Decoder, attention.by_full), tokens, LONG),
    "causal by ones, tril": Case(partial(attention.Decoder, attention.by_ones), tokens, LONG),
    "sliding window": Case(partial(attention.Decoder, attention.sliding), tokens, LONG),
    "ALiBi": Case(partial(attention.Decoder, attention.alibi), tokens, LONG),
    "causal by a buffer, sliced": Case(attention.TrilBuffer, tokens, LONG, BEYOND),
    "learned positions": Case(partial(attention.LearnedPositions, False), steps, LONG, BEYOND),
    "class token and positions": Case(
        partial(attention.LearnedPositions, True), steps, LONG, {"t": (attention.TABLE, 40)}
    ),
    "sinusoids behind a strided convolution": Case(attention.Sinusoids, steps, LONG),
    "relative bias": Case(attention.RelativeBias, steps, LONG),
    "rotary GQA, computed": Case(partial(attention.RotaryGqa, False), tokens, LONG),
    "rotary GQA, sliced": Case(partial(attention.RotaryGqa, True), tokens, LONG, BEYOND),
    "padding mask, positions by cumsum": Case(attention.PaddingMask, masked, LONG, BEYOND),
    "a cache in and out": Case(
        attention.Cache, cached, {"b": BATCH, "t": (4, 6, 1), "p": (8, 12, 1)}, {"p": (0,)}
    ),
    "nn.TransformerEncoder": Case(attention.Torch, steps, LONG),
    "nn.MultiheadAttention, sequence first": Case(attention.SequenceFirst, steps_first, LONG),
    "cross attention": Case(attention.Cross, crossed, {"b": BATCH, "q": (6, 9, 1), "k": (10, 7, 3)}),
    "learned queries": Case(attention.Detr, image, ANY),
    "ViT, positions interpolated": Case(windows.Vit, image, FOURS, {"h": (37,), "w": (41,)}),
    "ViT of one size": Case(
        windows.VitFixed, image, {"b": BATCH, "h": (32,), "w": (32,)}, {"h": (48, 64), "w": (16, 64)}
    ),
    "windows, padded": Case(windows.PaddedWindows, image, ANY),
    "windows, shifted": Case(windows.ShiftedWindows, image, EIGHTS, {"h": (36,), "w": (37,)}),
    "CRNN": Case(series.Crnn, image, {"b": BATCH, "h": (16,), "w": (32, 64, 41)}, {"h": (32, 20)}),
    "LSTM": Case(partial(series.Recurrent, nn.LSTM), steps, LONG),
    "GRU": Case(partial(series.Recurrent, nn.GRU), steps, LONG),
    "a loop over steps": Case(series.StepLoop, steps, {"b": BATCH, "t": (8,)}, {"t": (6, 9)}),
    "a loop over unbound steps": Case(series.UnbindLoop, steps, {"b": BATCH, "t": (8,)}, {"t": (6, 9)}),
    "mean by the size": Case(series.MeanBySize, steps, LONG),
    "square root of the size": Case(series.RootOfSize, steps, {"b": BATCH, "t": (8,)}, {"t": (12, 19, 1)}),
    "numel": Case(series.Count, steps, LONG),
    "halves": Case(series.Halves, steps, {"b": BATCH, "t": (8, 12, 19)}),
    "split by half the size": Case(series.SplitHalf, steps, EVEN, {"t": (9, 19)}),
    "chunks": Case(series.Chunks, steps, {"b": BATCH, "t": (8, 12, 19)}, {"t": (1,)}),
    "shift by one": Case(series.Shift, steps, LONG),
    "chunks of four, padded": Case(series.LocalChunks, steps, LONG),
    "min and max of a size": Case(series.MinimumSize, steps, {"b": BATCH, "t": (8,)}, {"t": (12, 19, 1)}),
    "linspace, repeat": Case(series.Positions, steps, LONG),
    "audio": Case(series.Audio, wave, {"b": BATCH, "t": (64, 96, 101)}),
    "TCN": Case(series.Tcn, steps_last, LONG),
    "PointNet": Case(series.PointNet, points, {"b": BATCH, "n": (16, 24, 7)}),
    "distances of points": Case(series.NeighbourPoints, points, {"b": BATCH, "n": (16, 24, 7)}),
    "graph by index_add": Case(
        partial(series.Graph, "index_add"), edged, {"n": (9, 12, 5), "e": (20, 31, 7)}
    ),
    "graph by scatter_add": Case(
        partial(series.Graph, "scatter"), edged, {"n": (9, 12, 5), "e": (20, 31, 7)}
    ),
    "graph by a matrix": Case(series.DenseGraph, matrix, {"n": (9, 12, 5)}),
    "a time step": Case(series.Timestep, timed, ANY),
    "two images of one size": Case(ways.TwoImages, two_images, FOURS, {"h": (34,), "w": (37,)}),
    "resized to multiples": Case(ways.ResizedToFours, image, FOURS, {"h": (34, 35), "w": (37, 38)}),
    "padded by the remainder": Case(ways.PaddedByRemainder, image, FOURS, {"h": (33,), "w": (37,)}),
    "one window": Case(ways.OneWindow, image, {**ANY, "h": (32, 28, 21)}, {"h": (33, 48, 64)}),
    "large images": Case(ways.LargeImages, image, {**ANY, "w": (32, 48, 41)}, {"w": (31, 16)}),
    "a table of sizes": Case(
        ways.TableOfSizes, image, {**ANY, "h": (32,)}, {"h": (31, 30, 28, 24, 15, 33, 48)}
    ),
    "two batches": Case(series.TwoBatches, pairs, {"i": (4, 7, 1), "t": (6, 9, 2)}),
}

# lengths of one step are no part of these: halves of it are empty
SEVERAL = {"b": BATCH, "t": (8, 12, 19)}


WITH_BATCH = (
    "a comparison of two sizes",
    "a sorted shape",
    "bytes",
    "len",
    "numel of a part of the shape",
)


def _decided(name: str) -> tuple[Sizes, Sizes]:
    """Any length may be refused, and where the batch is part of the decision, any batch too."""
    lengths = {"t": (12, 19, 5)}
    if name in WITH_BATCH:
        return {"b": (2,), "t": (8,)}, {"b": (1, 3), **lengths}
    return {"b": BATCH, "t": (8,)}, lengths


IDIOMS: dict[str, Case] = {
    **{
        name: Case(partial(idioms.StepIdiom, idiom), steps, SEVERAL)
        for name, idiom in idioms.STEP_IDIOMS.items()
    },
    **{
        name: Case(partial(idioms.StepIdiom, idiom), steps, *_decided(name))
        for name, idiom in idioms.DECIDED.items()
    },
    **{
        name: Case(partial(idioms.ImageIdiom, idiom), image, ANY)
        for name, idiom in idioms.IMAGE_IDIOMS.items()
    },
    **{
        name: Case(
            partial(idioms.ImageIdiom, idiom),
            image,
            {**ANY, "h": (32,), "w": (32,)},
            {"h": (48, 24), "w": (48, 24)},
        )
        for name, idiom in idioms.DECIDED_IMAGES.items()
    },
}

# models of which a size varies in PyTorch, but is fixed in the ONNX file: there the operator wants it as an attribute
FIXED_IN_ONNX = frozenset(
    {
        "spatial transformer",
        "pool by a kernel of the size",
        "triu_indices",
        "interpolate in one dimension",
        "average pool by the size",
        "rows and columns by rectangles",
        "a Fourier filter",
    }
)
