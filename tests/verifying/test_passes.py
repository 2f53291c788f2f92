"""What a proof costs, in passes: counted by the calls of one operator, whatever a machine takes for them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import graphprune as gp
from graphprune.cutting.cut import cut, equals_masked

WIDTH, KEPT = 16, 8
ADDMM, MM = torch.ops.aten.addmm.default, torch.ops.aten.mm.default


class Passes(TorchDispatchMode):
    """Counts calls of the first layer: forward, by its width and dtype; and products of its gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.forward: Counter[tuple[int, torch.dtype]] = Counter()
        self.backward: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is ADDMM and args[2].shape[0] == 6:
            self.forward[args[2].shape[1], args[2].dtype] += 1
        if func is MM and {*args[0].shape, *args[1].shape} >= {6} and args[0].shape[-1] in (WIDTH, KEPT):
            self.backward[args[0].shape[-1]] += 1  # by the input
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_proof_makes_six_passes_of_the_original_and_four_of_the_slim_model(batch: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4)).eval()
    graph = gp.trace(model, torch.randn(batch, 6))
    plan = gp.plan(graph, ratio=0.5, align=1).plan
    assert list(plan.sizes.values()) == [KEPT]
    with Passes() as passes:
        made = cut(graph, plan, proof=equals_masked(0))
    assert made.verdict.passed
    assert passes.forward == {
        (WIDTH, torch.float32): 5,  # the model and the program twice, the masked original
        (WIDTH, torch.float64): 1,  # the masked original, which gradients are taken by as well
        (KEPT, torch.float32): 2,  # the slim program, its layers
        (KEPT, torch.float64): 2,  # the slim program, its layers, which gradients are taken by as well
    }
    assert passes.backward == {WIDTH: 1, KEPT: 1}
