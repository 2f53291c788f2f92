"""Sensitivity: what is measured is the masked model, killed runs go on, and ratios and scores follow from it."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.planning import make_masks, make_plan
from graphprune.probing.curves import slopes
from graphprune.verifying.reference import Reference

sys.path.insert(0, str(Path(__file__).parents[1] / "planning"))
from planning_models import network, transformer

IMAGES, TOKENS = torch.randn(6, 3, 16, 16), torch.randn(4, 7, 6)
RATIOS = (0.25, 0.5)


def outputs(graph: gp.DependencyGraph, x: Tensor) -> Tensor:
    """The model's own, in eval mode."""
    assert graph.program.model is not None
    with torch.no_grad():
        return copy.deepcopy(graph.program.model).eval()(x)


def masked(graph: gp.DependencyGraph, group: str, kept: Tensor, x: Tensor) -> Tensor:
    """The output with everything removed held at zero, by code that shares nothing with rewriting."""
    plan = make_plan(graph, {group: kept})
    reference = Reference(graph, make_masks(graph, plan.groups).kept, [x])
    with torch.no_grad():
        run = reference.run(reference.zeroed(graph.program.tensors), None)
        return dict((node.name, value) for node, value in run)[graph.program.output_names[0]]


@pytest.mark.parametrize(
    ("graph", "x"), [(network(), IMAGES), (transformer(), TOKENS)], ids=["network", "transformer"]
)
@pytest.mark.parametrize("distance", ["l2", "kl"])
def test_distances_are_those_of_the_masked_model(graph: gp.DependencyGraph, x: Tensor, distance: str) -> None:
    found = gp.sensitivity(graph, calibration=x, ratios=RATIOS, distance=distance, importance="l1")
    assert {point.group for point in found.points} == {group.name for group in graph.groups}
    scores = gp.Criterion("l1")(graph, graph.program.tensors, 0)
    own = outputs(graph, x)
    for point in found.points:
        order = scores[point.group].argsort(dim=-1, descending=True, stable=True)
        slim = masked(graph, point.group, order[..., : point.size - point.removed], x)
        if distance == "l2":
            expected = (slim - own).norm() / own.norm()
        else:
            p, q = own.log_softmax(-1), slim.log_softmax(-1)
            expected = (p.exp() * (p - q)).sum(-1).mean()
        assert point.value == pytest.approx(float(expected), rel=1e-3, abs=1e-6)


def test_batches_make_no_difference() -> None:
    whole = gp.sensitivity(network(), calibration=IMAGES, ratios=(0.5,))
    parts = gp.sensitivity(network(), calibration=list(IMAGES.split(2)), ratios=(0.5,))
    assert [p.value for p in whole.points] == pytest.approx([p.value for p in parts.points], rel=1e-4)


def test_an_evaluation_function() -> None:
    seen = []

    def energy(model: nn.Module) -> dict[str, float]:
        seen.append(model)
        with torch.no_grad():
            return {"energy": float(model(TOKENS).square().mean())}

    found = gp.sensitivity(transformer(), evaluate=energy, ratios=(0.5,))
    assert found.baseline == pytest.approx(float(outputs(transformer(), TOKENS).square().mean()), rel=1e-5)
    assert len(seen) == 1 + len(found.points)
    assert all(found.harm(p) == max(found.baseline - p.value, 0) for p in found.points)
    with pytest.raises(gp.InputError, match="evaluate returns str, not a number"):
        gp.sensitivity(transformer(), evaluate=lambda model: "good")


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"

    class Killed(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        gp.sensitivity(network(), calibration=IMAGES, path=path, watch=stop)
    first = path.read_text().splitlines()
    assert len(first) == 1 + 5
    path.write_text("\n".join(first) + '\n{"group": "stem')  # killed while it wrote
    calls: list[tuple[int, int]] = []
    found = gp.sensitivity(network(), calibration=IMAGES, path=path, watch=lambda *now: calls.append(now))
    assert calls[-1] == (len(found.points), len(found.points))
    assert path.read_text().splitlines()[:6] == first
    assert found.points == gp.sensitivity(network(), calibration=IMAGES).points
    loaded = gp.Sensitivity.load(path, gp.Criterion("l2"))
    assert (loaded.points, loaded.distance, loaded.model) == (found.points, found.distance, found.model)


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({"calibration": TOKENS * 2}, "data"),
        ({"importance": "l1"}, "importance"),
        ({"distance": "kl"}, "distance"),
    ],
)
def test_another_measurement_is_not_gone_on_with(
    tmp_path: Path, options: dict[str, Any], differs: str
) -> None:
    path = tmp_path / "s.jsonl"
    gp.sensitivity(transformer(), calibration=TOKENS, ratios=(0.5,), path=path)
    with pytest.raises(gp.InputError, match=f"measures something else: its {differs} differs"):
        gp.sensitivity(transformer(), **{"calibration": TOKENS, "ratios": (0.5,), "path": path, **options})
    path.write_text("nothing\n")
    with pytest.raises(gp.InputError, match="it is no measurement"):
        gp.Sensitivity.load(path, gp.Criterion("l2"))


def test_ratios_for_a_shrink() -> None:
    found = gp.sensitivity(network(), calibration=IMAGES, ratios=(0.1, 0.3, 0.5, 0.7, 0.9))
    ratios = found.ratios(max_distance=0.05)
    assert set(ratios) == {group.name for group in network().groups}
    assert len({round(ratio, 3) for ratio in ratios.values()}) > 3
    assert all(one <= other for one, other in zip(ratios.values(), found.ratios(0.1).values(), strict=True))
    result = gp.shrink(network(), ratio=0.0, ratios=ratios)
    for name, ratio in ratios.items():
        size = network().by_name[name].size
        assert abs(len(result.plan.groups[name]) - size * (1 - ratio)) <= 1
    # each group alone keeps within the limit, but for rounding to whole units
    again = gp.sensitivity(network(), calibration=IMAGES, ratios=(ratios["down.weight:0"],))
    assert again.curves["down.weight:0"][0].value <= 0.06


def test_a_ratio_of_one_of_two_groups_in_a_layer() -> None:
    heads, widths = "attention.qkv.weight:0/1", "attention.qkv.weight:0/2"
    result = gp.shrink(transformer(), ratio=0.0, ratios={heads: 0.5, widths: 0.25})
    assert (len(result.plan.groups[heads]), result.plan.groups[widths].shape[-1]) == (2, 6)


def test_as_an_importance() -> None:
    found = gp.sensitivity(network(), calibration=IMAGES)
    base = gp.Criterion("l2")(network(), network().program.tensors, 0)
    scores = found(network(), network().program.tensors, 0)
    for name, score in scores.items():
        assert torch.equal(score.argsort(stable=True), base[name].argsort(stable=True))
    slim = gp.shrink(network(), macs=0.6, importance=found, ranking="per_cost")
    own = outputs(network(), IMAGES)
    with torch.no_grad():
        error, plain = (
            float((one.model(IMAGES) - own).norm() / own.norm())
            for one in (slim, gp.shrink(network(), macs=0.6, importance="l2"))
        )
    assert error < plain
    with pytest.raises(gp.InputError, match="measured on another model"):
        gp.shrink(transformer(), macs=0.6, importance=found)


def test_slopes_follow_the_convex_hull() -> None:
    assert slopes([(2, 2.0), (4, 2.0), (6, 8.0)], 8).tolist() == [0.5, 0.5, 0.5, 0.5, 3.0, 3.0, 3.0, 3.0]
    assert slopes([(1, 0.0), (3, 4.0)], 4).tolist() == [0.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "cosine"}, "unknown distance 'cosine'"),
        ({"ratios": (0.5, 1.0)}, "are no shares to remove"),
        ({"importance": "bn_scale"}, "no group can be judged"),
        ({"importance": "taylor"}, "looks at data, and there is none"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.InputError) as caught:
        gp.sensitivity(transformer(), **options)
    assert message in str(caught.value)
    assert caught.value.remedy
