"""Made inputs have the statistics that they are made for, and are the same at every call."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from graphprune.synthetic.leaves import dead_leaves
from graphprune.synthetic.noise import SLOPES, coloured, power_noise
from graphprune.synthetic.points import clouds
from graphprune.synthetic.signals import signals
from graphprune.synthetic.strokes import strokes
from graphprune.synthetic.tokens import texts

GENERATORS: dict[str, tuple[Callable[[torch.Generator], Tensor], tuple[int, ...]]] = {
    "noise": (lambda g: power_noise(5, 2, (12, 16), g), (5, 2, 12, 16)),
    "leaves": (lambda g: dead_leaves(5, 3, 12, 16, g), (5, 3, 12, 16)),
    "strokes": (lambda g: strokes(5, 12, 16, g), (5, 1, 12, 16)),
    "signals": (lambda g: signals(5, 2, 64, g), (5, 2, 64)),
    "points": (lambda g: clouds(5, 40, 3, g), (5, 3, 40)),
    "texts": (lambda g: texts((5, 9), 50, None, None, g), (5, 9)),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_same_at_every_call_and_no_two_examples_alike(name: str) -> None:
    make, shape = GENERATORS[name]
    found = make(seeded())
    assert found.shape == shape
    assert torch.equal(found, make(seeded()))
    assert not torch.equal(found, make(seeded(1)))
    assert len({tuple(row.flatten().tolist()) for row in found}) == shape[0]
    assert bool(torch.isfinite(found).all())


def test_power_falls_with_frequency_as_asked() -> None:
    found = power_noise(200, 1, (64,), seeded())[:, 0]
    power = torch.fft.rfft(found).abs().mean(0)[1:]
    slope = float((power[20] / power[1]).log() / torch.tensor(21 / 2).log())
    assert -SLOPES[1] < slope < -SLOPES[0]
    torch.testing.assert_close(found.mean(1), torch.zeros(200), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.std(1, correction=0), torch.ones(200), rtol=0, atol=1e-4)


def test_colours_mostly_agree() -> None:
    found = coloured(power_noise(100, 3, (8, 8), seeded()), seeded(1)).flatten(2)
    likeness = torch.stack([torch.corrcoef(example) for example in found])[:, 0, 1]
    assert float(likeness.mean()) > 0.6
    alone = power_noise(3, 1, (8, 8), seeded())
    assert coloured(alone, seeded()) is alone


def test_leaves_have_edges_that_noise_has_not() -> None:
    """Their differences are small nearly everywhere and large at edges: the kurtosis of a photograph."""

    def kurtosis(images: Tensor) -> float:
        steps = images.diff(dim=-1).flatten()
        return float(steps.pow(4).mean() / steps.square().mean().square())

    leaves = dead_leaves(8, 1, 48, 48, seeded())
    noise = power_noise(8, 1, (48, 48), seeded())
    assert kurtosis(leaves) > 2 * kurtosis(noise)


def test_signals_have_pitches() -> None:
    """Most of them repeat themselves; noise does not."""
    found = signals(64, 1, 512, seeded())[:, 0]
    spectrum = torch.fft.rfft(found).abs().square()[:, 1:]
    peaks = (spectrum.amax(1) / spectrum.sum(1)).sort().values
    white = torch.fft.rfft(torch.randn(64, 512, generator=seeded())).abs().square()[:, 1:]
    assert float(peaks.median()) > 3 * float((white.amax(1) / white.sum(1)).median())


def test_clouds_lie_in_the_unit_ball() -> None:
    found = clouds(6, 100, 3, seeded())
    torch.testing.assert_close(found.norm(dim=1).amax(1), torch.ones(6))
    torch.testing.assert_close(found.mean(2), torch.zeros(6, 3), rtol=0, atol=1e-5)


def test_frequent_tokens_come_first_and_unused_ones_never() -> None:
    lively = torch.ones(100, 4)
    lively[:10] = 0.01  # never trained
    found = texts((200, 20), 100, lively, None, seeded())
    assert int(found.min()) >= 10
    counts = found.flatten().bincount(minlength=100)
    assert counts[10:20].sum() > 1.5 * counts[90:].sum()


def test_marks_of_the_configuration_stand_at_the_ends() -> None:
    class Model(torch.nn.Module):
        class config:
            bos_token_id, eos_token_id = 7, 99

    found = texts((4, 6), 50, None, Model(), seeded())
    assert found[:, 0].tolist() == [7] * 4
    assert not (found == 99).any()  # the table has no such row


def test_strokes_are_thin_and_darker_or_lighter_than_a_plain_ground() -> None:
    images = strokes(32, 28, 28, seeded())
    ground = images.flatten(1).mode(dim=1, keepdim=True).values
    is_ground = (images.flatten(1) - ground).abs() < 1e-4
    assert float(is_ground.float().mean()) > 0.6
    assert float(is_ground.float().mean(1).max()) < 1
    assert set((ground.sign() < 0).flatten().tolist()) == {True, False}
    torch.testing.assert_close(images.mean((1, 2, 3)), torch.zeros(32), atol=1e-5, rtol=0)
