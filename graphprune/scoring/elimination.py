"""Units removed one after the other, the cheapest first, while their consumers are refitted to those that are left."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["RIDGE", "elimination_errors", "gram", "regularised"]

RIDGE = 1e-6  # of the mean second moment: tells what is an exact copy from rounding
BLOCK = 64  # removals whose effect on whole matrices is one product of matrices


def gram(rows: Tensor) -> Tensor:
    """``[..., size, rows]`` → its products with itself, ``[..., size, size]``.

    numpy sees that they are symmetric, and takes half the time that torch does.
    """
    if rows.device.type != "cpu":
        return rows @ rows.mT
    array = rows.numpy()
    return torch.from_numpy(array @ array.swapaxes(-1, -2))


def regularised(moments: Tensor, ridge: float) -> Tensor:
    """``[..., size, size]`` moments with ``ridge`` times their mean diagonal added to it; positive definite.

    Where all moments are zero, the ridge takes the place of the diagonal.
    """
    scale = ridge * moments.diagonal(dim1=-2, dim2=-1).mean(-1)
    scale = torch.where(scale > 0, scale, 1.0)
    regular = moments.clone()
    regular.diagonal(dim1=-2, dim2=-1).add_(scale[..., None])
    return regular


def elimination_errors(moments: Tensor, weights: Tensor, ridge: float = RIDGE) -> Tensor:
    """The squared error at which each unit goes when the cheapest is removed one after the other.

    After each removal the consumers are refitted to the units that are left, so the error of the k-th removal, added
    up, is that of the best linear reconstruction: Hassibi and Stork, "Optimal Brain Surgeon" (1993), with
    whole rows as in Frantar et al., "Optimal Brain Compression" (2022).

    Args:
        moments: mean products of activations, ``[units, units]``.
        weights: what the consumers multiply each unit with, ``[units, outputs]``.
        ridge: see `regularised`.

    Returns:
        ``[units]``, errors summed up to and with the unit's own removal.
    """
    inverse, products = torch.linalg.inv(regularised(moments, ridge)), weights @ weights.mT
    inverse = (inverse + inverse.mT) / 2  # rows are taken for columns, and by rounding they differ
    units, total = torch.arange(len(moments)), 0.0
    errors = torch.zeros(len(moments), dtype=moments.dtype)
    while len(units):
        block = _Block(inverse, products)
        for _ in range(min(BLOCK, len(units))):
            unit, price = block.remove()
            total += price
            errors[units[unit]] = total
        units, inverse, products = units[block.left], *block.rest()
    return errors


class _Block:
    """Some removals. A unit costs ``|w|² / H_uu``: its row of weights, and H, the inverse of the moments that are left.

    The removal of u takes ``H_uu c c'`` from H and ``c w_u'`` from the weights W, where ``c = H_u / H_uu``. Only
    products of the weights are needed: from ``T = W W'`` it takes ``c s' + s c'`` with ``s = T_u - T_uu c / 2``.
    Diagonals follow at once, a column when its unit is removed, and whole matrices once for all removals of the block,
    since one product of matrices takes much less time than as many passes over them.
    """

    def __init__(self, inverse: Tensor, products: Tensor) -> None:
        self.inverse, self.products = inverse, products
        self.diagonal, self.squares = inverse.diagonal().clone(), products.diagonal().clone()
        self.left = torch.ones(len(inverse), dtype=torch.bool)
        self.count = 0
        self.columns, self.shares, self.scaled = inverse.new_zeros(3, BLOCK, len(inverse))  # c, s, H_uu c

    def remove(self) -> tuple[int, float]:
        """The cheapest unit, and what it costs."""
        prices = self.squares.clamp_min(0) / self.diagonal.clamp_min(torch.finfo(self.diagonal.dtype).tiny)
        unit = int(prices.masked_fill_(~self.left, float("inf")).argmin())
        columns, shares, scaled = self._removed()
        taken = self.inverse[unit] - scaled[:, unit] @ columns
        product = self.products[unit] - columns[:, unit] @ shares - shares[:, unit] @ columns
        column = taken / taken[unit]
        share = product - product[unit] / 2 * column
        self.diagonal -= taken * column
        self.squares -= 2 * column * share
        self.columns[self.count], self.shares[self.count], self.scaled[self.count] = column, share, taken
        self.left[unit] = False
        self.count += 1
        return unit, float(prices[unit])

    def rest(self) -> tuple[Tensor, Tensor]:
        """H and T of the units that are left."""
        columns, shares, scaled = (rows[:, self.left] for rows in self._removed())
        inverse, products = (matrix[self.left][:, self.left] for matrix in (self.inverse, self.products))
        products.addmm_(columns.mT, shares, alpha=-1).addmm_(shares.mT, columns, alpha=-1)
        return inverse.addmm_(columns.mT, scaled, alpha=-1), products

    def _removed(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.columns[: self.count], self.shares[: self.count], self.scaled[: self.count]
