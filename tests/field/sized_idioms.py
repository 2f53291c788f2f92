"""What people write about sizes in Python, and operators that take them: one line of a model each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from sized_images import Stem
from sized_series import Series
from torch import Tensor

__all__ = ["DECIDED", "DECIDED_IMAGES", "IMAGE_IDIOMS", "STEP_IDIOMS", "ImageIdiom", "StepIdiom"]

Idiom = Callable[[Tensor], Tensor]


class StepIdiom(Series):
    def __init__(self, idiom: Idiom) -> None:
        super().__init__()
        self.idiom = idiom

    def mix(self, y: Tensor) -> Tensor:
        return self.idiom(y)


class ImageIdiom(Stem):
    def __init__(self, idiom: Idiom) -> None:
        super().__init__()
        self.idiom = idiom

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.idiom(self.features(x)))


TABLE = {8: 0.5, 12: 0.25}
KNOWN = torch.arange(30.0)


def by_dictionary(y: Tensor) -> Tensor:
    return y * TABLE.get(y.shape[1], 1.0)


def by_membership(y: Tensor) -> Tensor:
    return y.neg() if y.shape[1] in (12, 19) else y


def table_of_places(y: Tensor) -> Tensor:
    """As in BEiT: numbers that follow from the size are written into a table of places."""
    steps = y.shape[1]
    places = torch.zeros(steps, steps, dtype=torch.int64)
    places[0, 0:] = 3 * steps - 3
    places[1:, 0] = steps + 1
    places[1:, 1:] *= steps
    return (KNOWN.repeat(steps)[places] @ y).sin()


def folded_patches(y: Tensor) -> Tensor:
    """As in MobileViT: rows of patches are folded together with examples and channels."""
    b, c, rows, columns = y.shape[0], y.shape[1], y.shape[2] // 2, y.shape[3] // 2
    y = y[:, :, : rows * 2, : columns * 2].reshape(b * c * rows, 2, columns, 2).transpose(1, 2)
    return y.reshape(b, c, rows * columns, 4).amax(-1).reshape(b, c, rows, columns)


def by_text(y: Tensor) -> Tensor:
    return y * len(f"{y.shape[1]:d}")


def by_list(y: Tensor) -> Tensor:
    return y * [float(i) for i in range(30)][y.shape[1]]


def by_comparison(y: Tensor) -> Tensor:
    """Two sizes, of which neither alone decides."""
    return y * 2 if y.shape[1] > y.shape[0] * 5 else y


def by_shapes(y: Tensor) -> Tensor:
    z = F.avg_pool1d(y.transpose(1, 2), 2, 1).transpose(1, 2)
    return F.pad(z, (0, 0, 0, y.shape[1] - z.shape[1])) if z.shape != y.shape else z


def by_parity(y: Tensor) -> Tensor:
    return y[:, :-1] if y.shape[1] & 1 else y


def by_rows(y: Tensor) -> Tensor:
    return sum(row.sum(0) * i for i, row in enumerate(y.transpose(0, 1)))


def by_pieces(y: Tensor) -> Tensor:
    return torch.stack([piece.mean(1) for piece in y.split(4, 1)], 1)


def by_count_of_pieces(y: Tensor) -> Tensor:
    return y.sum(1) / len(y.split(4, 1))


def by_growth(y: Tensor) -> Tensor:
    """As often as the length can be halved."""
    t = y.shape[1]
    while t > 4:
        y, t = y * 0.5, t // 2
    return y


def by_zip(y: Tensor) -> Tensor:
    return torch.stack([a - b for a, b in zip(y[:, 1:].unbind(1), y[:, :-1].unbind(1), strict=True)], 1)


# what Python can decide upon: other lengths are right, or refused
DECIDED: dict[str, Idiom] = {
    "a dictionary of sizes": by_dictionary,
    "a size in a tuple": by_membership,
    "a size as a text": by_text,
    "a size as an index of a list": by_list,
    "a comparison of two sizes": by_comparison,
    "a comparison of two shapes": by_shapes,
    "odd and even": by_parity,
    "rows of a tensor": by_rows,
    "pieces": by_pieces,
    "the number of pieces": by_count_of_pieces,
    "a loop that halves a size": by_growth,
    "zip": by_zip,
    "square root by a power": lambda y: y / y.shape[1] ** 0.5,
    "a logarithm": lambda y: y * math.log2(y.shape[1] + 1),
    "rounded": lambda y: y * round(y.shape[1] / 3),
    "a float": lambda y: y * float(y.shape[1]) + int(y.shape[1] / 3 + 0.5),
    "the bits of a size": lambda y: y * y.shape[1].bit_length(),
    "a size as an index of a tensor": lambda y: y * KNOWN[y.shape[1]],
    "len": lambda y: y / len(y) + len(y[0]),
    "numel of a part of the shape": lambda y: y * y.shape[:2].numel(),
    "a size as an exponent": lambda y: 0.9 ** y.shape[1] * y,
    "divmod": lambda y: y * divmod(y.shape[1], 3)[0] + divmod(y.shape[1], 3)[1],
    "bytes": lambda y: y * (y.nbytes / 1000) + y.stride(0),
    "a sorted shape": lambda y: y * sorted(y.shape[:2])[1],
}

# what a graph can compute: every length is right
STEP_IDIOMS: dict[str, Idiom] = {
    "numbers written into a table": table_of_places,
    "math.prod": lambda y: y * math.prod(y.shape[:2]),
    "a size as a tensor": lambda y: y / torch.tensor(y.shape[1]),
    "a size by full": lambda y: y / torch.full((1,), y.shape[1]),
    "a size in front": lambda y: y.shape[1] - y + 1 / y.size(dim=1),
    "steps as rows": lambda y: y.view(-1, y.shape[-1]).cumsum(0).view(y.shape),
    "rows of all steps": lambda y: y.reshape(y.shape[0] * y.shape[1], -1).mean(0),
    "the shape unpacked": lambda y: torch.zeros(*y.shape[:2], 1).add(1) * y,
    "the last steps": lambda y: y[:, -(y.shape[1] // 2) :].sum(1),
    "the middle": lambda y: y.narrow(1, y.shape[1] // 4, y.shape[1] // 2).sum(1),
    "every other step": lambda y: y[:, ::2],
    "roll by half": lambda y: y.roll(y.shape[1] // 2, 1),
    "flip": lambda y: y.flip(1),
    "pool by a kernel of the size": lambda y: F.max_pool1d(y.transpose(1, 2), y.shape[1]).squeeze(2),
    "a norm over the steps": lambda y: F.layer_norm(y.transpose(1, 2), (y.size(1),)).transpose(1, 2),
    "the largest half": lambda y: y.topk(y.shape[1] // 2, 1)[0].sum(1),
    "einsum": lambda y: torch.einsum("btc,bsc->bts", y, y).softmax(-1) @ y,
    "eye": lambda y: torch.eye(y.shape[1]) @ y,
    "repeat_interleave": lambda y: y.mean(1, keepdim=True).repeat_interleave(y.shape[1], 1),
    "expand": lambda y: y.mean(1, keepdim=True).expand(-1, y.size(1), -1) + y,
    "expand_as": lambda y: y.amax(1, keepdim=True).expand_as(y) - y,
    "new_zeros": lambda y: torch.cat([y.new_zeros(y.shape[0], 1, y.shape[2]), y], 1),
    "ones_like": lambda y: torch.ones_like(y[..., :1]).cumsum(1) * y,
    "triu_indices": lambda y: (
        (y @ y.transpose(1, 2))[:, torch.triu_indices(y.shape[1], y.shape[1])[0]].mean((1, 2), keepdim=True)
        * y
    ),
    "one_hot": lambda y: F.one_hot(torch.arange(y.shape[1]), y.shape[1]).to(y.dtype) @ y,
    "interpolate in one dimension": lambda y: F.interpolate(
        y.transpose(1, 2), size=2 * y.shape[1], mode="linear"
    ).transpose(1, 2),
    "sliding windows": lambda y: y.unfold(1, 2, 1).mean(-1),
    "stack and mean": lambda y: torch.stack([y, y.flip(1)]).mean(0) * y.dim(),
    "a variance by hand": lambda y: ((y - y.sum(1, keepdim=True) / y.size(1)) ** 2).sum(1) / (y.size(1) + 1),
    "positions over the size": lambda y: y * (torch.arange(y.shape[1]).float() / (y.shape[1] + 1))[:, None],
    "gather by flipped positions": lambda y: y[:, torch.arange(y.shape[1] - 1, -1, -1)],
    "the last step": lambda y: y[:, y.shape[1] - 1] + y.select(1, -1),
    "a negative pad": lambda y: F.pad(y, (0, 0, 0, -(y.shape[1] // 2))).mean(1),
}

IMAGE_IDIOMS: dict[str, Idiom] = {
    "rows of patches folded together": folded_patches,
    "average pool by the size": lambda y: F.avg_pool2d(y, y.size()[2:]),
    "adaptive pool to half": lambda y: F.adaptive_avg_pool2d(y, (y.shape[2] // 2, None)),
    "crop to the middle": lambda y: y[..., y.shape[2] // 4 : -(y.shape[2] // 4), 1:-1],
    "rows and columns by rectangles": lambda y: (
        F.avg_pool2d(y, (y.shape[2], 1)) + F.avg_pool2d(y, (1, y.shape[3]))
    ),
    "interpolate by a quotient": lambda y: F.interpolate(
        F.max_pool2d(y, 2), scale_factor=(2.0, 2.0), mode="nearest"
    ),
    "the area": lambda y: y.flatten(2).sum(-1)[..., None, None] / (y.shape[2] * y.shape[3]),
    "softmax of all pixels": lambda y: y.flatten(2).softmax(-1).view_as(y),
    "unflatten": lambda y: y.flatten(2).unflatten(2, y.shape[2:]) + y,
    "split rows": lambda y: torch.cat(y.split([1, y.shape[2] - 1], 2)[::-1], 2),
    "a layer norm of the map": lambda y: F.layer_norm(y, y.shape[2:]),
    "cartesian product": lambda y: (
        y
        + torch.cartesian_prod(torch.arange(y.shape[2]), torch.arange(y.shape[3])).sum(1).view(y.shape[2:])
        / 9
    ),
    "a Fourier filter": lambda y: torch.fft.irfft2(torch.fft.rfft2(y) * 0.5, s=y.shape[-2:]) + y,
    "pairs of columns": lambda y: (
        y.permute(0, 2, 3, 1).reshape(y.shape[0], y.shape[2], -1, y.shape[1]).permute(0, 3, 1, 2)
    ),
}

# which side is the longer one is a decision
DECIDED_IMAGES: dict[str, Idiom] = {
    "to the smaller side": lambda y: F.interpolate(y, size=min(y.shape[2:]), mode="nearest"),
    "square by padding": lambda y: F.pad(
        y, (0, max(y.shape[2:]) - y.shape[3], 0, max(y.shape[2:]) - y.shape[2])
    ),
}
