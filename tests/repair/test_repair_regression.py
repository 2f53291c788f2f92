"""Ridge regressions from sums: equal to solving on the rows themselves, and chosen on what was not seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphprune.calibration.sums import Sums
from graphprune.repair.batch_norm import ChannelSums, estimate
from graphprune.repair.regression import RIDGES, RowSums, fit
from graphprune.repair.rows import HeldRows


def rows(count: int, seed: int, groups: int = 2, size: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(groups, count, size, generator=generator, dtype=torch.float64) + 1.5


def sums_of(x: Tensor, r: Tensor) -> RowSums:
    """Of rows that count alike."""
    return RowSums.of(x, r, torch.ones(x.shape[1]))


def streamed(x: Tensor, r: Tensor) -> RowSums:
    sums: Sums[str, RowSums] = Sums()
    for part in (slice(5), slice(5, None)):
        sums.add("", sums_of(x[:, part], r[:, part]))
    return sums.total()[""]


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("size", [4, 40])
def test_rows_that_are_held_give_what_their_sums_give(intercept: bool, size: int) -> None:
    """With fewer regressors than rows, and with more."""
    x, r = rows(30, 0, size=size).float(), rows(30, 1, size=150).float()
    r += 3 * x[..., :1]
    counts = torch.rand(30, generator=torch.Generator().manual_seed(2)) + 0.5
    held, sums = HeldRows(), Sums[int, RowSums]()
    for number, part in enumerate(torch.arange(30).split(7)):
        given = (x[:, part], r[:, part], counts[part])
        held.add(number, number % 2, *given)
        sums.add(number % 2, RowSums.of(*given))
    rowwise, summed = held.halves(), [sums.total()[half] for half in (0, 1)]
    for one, other in zip(rowwise, summed, strict=True):
        assert float(one.rows) == pytest.approx(float(other.rows))
        torch.testing.assert_close(one.mean, other.mean)
        for ridge in (0.1, 1e-3):
            found, shift = one.solved(one.centred(intercept), ridge, intercept)
            slope = one.slope(found)
            assert rowwise[0].error(found, shift) == pytest.approx(
                summed[0].error(slope, shift), rel=1e-6, abs=1e-9
            )
    for ridge in (1.0, 1e-2):
        (found, shift), (slope, other_shift) = (
            half[1].solved(half[1].centred(intercept), ridge, intercept) for half in (rowwise, summed)
        )
        torch.testing.assert_close(rowwise[1].slope(found), slope)
        torch.testing.assert_close(torch.as_tensor(shift), torch.as_tensor(other_shift))
    one, other = fit(rowwise, intercept, True), fit(summed, intercept, True)
    assert one.ridge == other.ridge > 0
    assert one.after == pytest.approx(other.after, rel=1e-6)
    torch.testing.assert_close(one.slope, other.slope)
    torch.testing.assert_close(torch.as_tensor(one.shift), torch.as_tensor(other.shift))


def test_a_row_that_counts_twice_is_as_two() -> None:
    x, r = rows(9, 4), rows(9, 5, size=3)
    twice = torch.tensor([0, 1, 1, 2, 3, 4, 5, 6, 7, 8])
    counted = RowSums.of(x, r, torch.tensor([1.0, 2, 1, 1, 1, 1, 1, 1, 1]))
    for one, other in zip(counted, sums_of(x[:, twice], r[:, twice]), strict=True):
        torch.testing.assert_close(one, other)


def test_the_error_from_sums_is_the_error_of_the_rows() -> None:
    x, r = rows(30, 0), rows(30, 1, size=3)
    slope, shift = rows(4, 2, size=3), rows(1, 3, size=3)[:, 0]
    expected = (r - x @ slope - shift[:, None]).square().sum()
    assert streamed(x, r).error(slope, shift) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("intercept", [True, False])
def test_what_can_be_foretold_exactly_is(intercept: bool) -> None:
    x, slope = rows(80, 0), rows(4, 2, size=3)
    r = x @ slope + (0.7 if intercept else 0.0)
    found = fit([streamed(x[:, :40], r[:, :40]), streamed(x[:, 40:], r[:, 40:])], intercept, True)
    assert found.slope is not None
    # errors below 1e-16 of the whole are lost in its rounding, so slopes are known to their root
    torch.testing.assert_close(found.slope, slope, rtol=0, atol=1e-6)
    assert found.ridge <= 1e-6
    assert found.after < 1e-15 * found.before
    if intercept:
        torch.testing.assert_close(
            torch.as_tensor(found.shift), torch.full((2, 3), 0.7).double(), rtol=0, atol=1e-6
        )


def test_noise_is_not_learned() -> None:
    """Neither a slope nor a shift foretells one half from the other."""
    x = rows(12, 0, groups=1, size=40)
    r = torch.randn(1, 12, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    r = torch.cat([r[:, :6], -r[:, :6]], 1)
    halves = [sums_of(x[:, :6], r[:, :6]), sums_of(x[:, 6:], r[:, 6:])]
    found = fit(halves, True, True)
    assert found.slope is None
    assert found.shift == 0.0
    assert found.after == found.before


def test_a_noisy_line_takes_a_ridge_that_is_neither_least_nor_largest() -> None:
    x = rows(24, 0, groups=1, size=20)
    noise = torch.randn(1, 24, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    r = x[..., :1] + 0.7 * noise
    found, shifted = (
        fit([sums_of(x[:, :12], r[:, :12]), sums_of(x[:, 12:], r[:, 12:])], True, slopes)
        for slopes in (True, False)
    )
    assert RIDGES[-1] < found.ridge < 10
    assert found.after < shifted.after < found.before


def test_dead_regressors_and_no_rows_do_no_harm() -> None:
    x, r = torch.zeros(3, 20, 4, dtype=torch.float64), rows(20, 1, groups=3, size=2)
    found = fit([sums_of(x[:, :10], r[:, :10]), sums_of(x[:, 10:], r[:, 10:])], True, True)
    torch.testing.assert_close(torch.as_tensor(found.shift), r.mean(1), rtol=0, atol=1e-9)
    nothing = sums_of(x[:, :0], r[:, :0])
    assert fit([nothing, sums_of(x[:, :0], r[:, :0])], True, True).slope is None


def channels(scale: float, shift: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(50, 3, 6, generator=generator, dtype=torch.float64) + shift


def test_statistics_are_the_slim_data_s_where_the_original_s_are_its_data_s() -> None:
    original = channels(2.0, 0.5)
    slim = 0.3 * original + 1.0
    own = original.mean((0, 2)), original.var((0, 2), correction=0)
    sums: Sums[str, ChannelSums] = Sums()
    for part in (slice(20), slice(20, None)):
        sums.add("", ChannelSums.of(original[part], slim[part]))
    found = estimate(sums.total()[""], own, own, 1e-5)
    torch.testing.assert_close(found.mean, slim.mean((0, 2)), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.variance, slim.var((0, 2), correction=0), rtol=0, atol=1e-5)
    assert found.after < 1e-8 < 0.1 < found.before


def test_statistics_of_a_channel_that_nothing_happened_to_stay() -> None:
    original = channels(2.0, 0.5)
    own = torch.tensor([0.1, -3.0, 2.0]).double(), torch.tensor([1.0, 0.2, 9.0]).double()
    found = estimate(ChannelSums.of(original, original), own, own, 1e-5)
    assert torch.equal(found.mean, own[0])
    assert torch.equal(found.variance, own[1])
    assert found.before == found.after == 0


def test_statistics_that_would_enlarge_the_error_are_left() -> None:
    """What the slim model reads has nothing to do with the original: scaling it up is no help."""
    original, slim = channels(2.0, 0.0), channels(0.1, 0.0, seed=1)
    own = torch.zeros(3).double(), torch.full((3,), 4.0).double()
    found = estimate(ChannelSums.of(original, slim), own, own, 1e-5)
    assert torch.equal(found.variance, own[1])
