"""In-place writes have derivatives, and so has what stands in their place: values, gradients, training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp


def _copied(y: Tensor) -> Tensor:
    z = torch.zeros_like(y)
    z.copy_(y)
    return z * 2


def _copied_wide(y: Tensor) -> Tensor:
    z = torch.empty(2, *y.shape, dtype=torch.float64)
    z.copy_(y)
    return z.float().sum(0)


def _part_copied(y: Tensor) -> Tensor:
    z = torch.zeros_like(y)
    z[:, 1:].copy_(y[:, :-1])
    z[:, 0] = y[:, 1] * 3
    return z + y


def _zeroed(y: Tensor) -> Tensor:
    z = y * 2
    z.zero_()
    return z + y


def _written(write: Callable[[Tensor, Tensor], object]) -> Callable[[Tensor], Tensor]:
    def of(y: Tensor) -> Tensor:
        z = y * 2
        write(z, y.sin())
        return z

    return of


ROWS = torch.tensor([0, 2])
WRITES: dict[str, Callable[[Tensor], Tensor]] = {
    "copy_": _copied,
    "copy_, wider and another dtype": _copied_wide,
    "copy_ into parts": _part_copied,
    "zero_": _zeroed,
    "fill_": _written(lambda z, y: z[:, :2].fill_(1.0)),
    "index_put_": _written(lambda z, y: z.index_put_((ROWS,), y[:2])),
    "index_add_": _written(lambda z, y: z.index_add_(0, ROWS, y[:2])),
    "index_copy_": _written(lambda z, y: z.index_copy_(0, ROWS, y[:2])),
    "index_fill_": _written(lambda z, y: z.index_fill_(0, ROWS, 3.0)),
    "masked_fill_": _written(lambda z, y: z.masked_fill_(y > 0, 0.5)),
    "a mask assigned": _written(lambda z, y: z.__setitem__(y > 0, 0.0)),
    "scatter_": _written(lambda z, y: z.scatter_(0, ROWS[:, None].expand(2, 3), y[:2])),
    "scatter_add_": _written(lambda z, y: z.scatter_add_(0, ROWS[:, None].expand(2, 3), y[:2])),
    "add_, mul_, clamp_": _written(lambda z, y: z.add_(y).mul_(y).clamp_(-0.5, 0.5)),
    "lerp_, addcmul_": _written(lambda z, y: z.lerp_(y, 0.3).addcmul_(y, y)),
    "relu_ of a part": _written(lambda z, y: z[1:].relu_()),
}


class Writing(nn.Module):
    def __init__(self, of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.three, self.of = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(3, 2), of

    def forward(self, x: Tensor) -> Tensor:
        return self.three(self.of(self.two(self.one(x).tanh())))


def _gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    model(x).square().sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", WRITES)
def test_gradients_are_the_models(name: str) -> None:
    """Nothing is removed, so that both are the same function; then half is, and the verdict compares."""
    torch.manual_seed(0)
    model = Writing(WRITES[name]).eval()
    x = torch.randn(3, 4)
    same = gp.shrink(model, x, ratio=0.0).model
    torch.testing.assert_close(same(x), model(x))
    wanted, given = _gradients(model, x), _gradients(same, x)
    assert wanted.keys() == given.keys()
    for parameter in wanted:
        torch.testing.assert_close(given[parameter], wanted[parameter])
    verdict = gp.shrink(model, x, ratio=0.5).verdict
    (check,) = [check for check in verdict.checks if check.name.startswith("gradients equal")]
    assert "not compared" not in check.detail


def test_a_slim_model_trains_from_its_folder(tmp_path: Path) -> None:
    """From `gp.load`, and from model.py, alike."""
    import importlib.util

    torch.manual_seed(0)
    x, y = torch.randn(6, 4), torch.randn(6, 2)
    gp.shrink(Writing(_copied).eval(), x, ratio=0.5).save(tmp_path / "slim", onnx=False)
    spec = importlib.util.spec_from_file_location("slim_model", tmp_path / "slim" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(file)
    losses = []
    for model in (gp.load(tmp_path / "slim"), file.load()):
        optimiser = torch.optim.SGD(model.train().parameters(), 0.05)
        steps = []
        for _ in range(20):
            optimiser.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimiser.step()
            steps.append(float(loss.detach()))
        losses.append(steps)
    assert losses[0] == pytest.approx(losses[1])
    assert losses[0][-1] < 0.9 * losses[0][0]
