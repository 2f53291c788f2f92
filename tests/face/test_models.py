"""The models the project promises: a random half of every group removed, and exact at every node."""

import pytest
import torch

import graphprune as gp
from graphprune.ground.clock import Clock
from graphprune.results.onnx_checks import write_checked
from models_zoo import ENTRIES
from models_zoo.registry import Entry

torchvision_ops = pytest.importorskip("models_zoo.torchvision_ops")
TORCHVISION = [
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "vgg16_bn",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "shufflenet_v2_x1_0",
    "regnet_y_400mf",
    "googlenet",
    "inception_v3",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
    "swin_v2_t",
    "maxvit_t",
    "deeplabv3_mobilenet_v3_large",
]
# smaller images where the architecture does not depend on their size: the axes are the same
SIDE = {"vgg16_bn": 64, "inception_v3": 128, "googlenet": 96, "densenet121": 96, "resnext50_32x4d": 96}
REACHABLE = 0.95  # share of parameters in some group; the classifier's biases are all that cannot go


def torchvision_example(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    from models_zoo.sources import torchvision_model

    torch.manual_seed(0)
    model, example_inputs, _ = torchvision_model(name, pretrained=False)
    (image,), _ = example_inputs(2)
    side = SIDE.get(name, image.shape[-1])
    return model, image[..., :side, :side]


def assert_exact(result: gp.Result) -> None:
    figures = {check.name: check.figure for check in result.verdict.checks}
    assert result.verdict.passed
    assert figures["random parameters, every node"] <= 1e-10
    assert figures["own parameters, every node"] <= 1e-4
    assert figures["parameters as predicted"] == figures["multiply-accumulates as predicted"] == 0
    assert result.after.params < result.before.params


# large ones, whose kinds of layers the others have too
LARGE = {"vgg16_bn", "maxvit_t", "swin_v2_t", "inception_v3", "densenet121", "convnext_tiny", "vit_b_16"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.thorough] * (name in LARGE)) for name in TORCHVISION]
)
def test_torchvision_is_exact_at_half_of_every_group(name: str) -> None:
    model, image = torchvision_example(name)
    result = gp.shrink(model, image, ratio=0.5, importance="random", seed=1)
    assert_exact(result)
    assert result.graph.program.dynamic_batch
    in_groups = {member.tensor for group in result.graph.groups for member in group.members}
    stored = result.graph.program.stored
    reached = sum(stored[name].tensor.numel() for name in in_groups if stored[name].kind == "parameter")
    assert reached >= REACHABLE * result.before.params
    assert not result.graph.analysis.unruled


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_zoo_is_exact_at_half_of_every_group(entry: Entry) -> None:
    if entry.name == "crepe_full":
        pytest.skip("the same graph as crepe_tiny, 45 times as large; tools/check_exact.py runs it")
    torch.manual_seed(0)
    result = gp.shrink(entry.build(), entry.example_inputs(2), ratio=0.5, importance="random", seed=1)
    assert_exact(result)


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", pytest.param("googlenet", marks=pytest.mark.thorough)]
)
def test_onnx_agrees_at_two_batch_sizes_and_is_not_blind(name: str, tmp_path) -> None:
    model, image = torchvision_example(name)
    result = gp.shrink(model, image[..., :64, :64], ratio=0.5, importance="random", seed=2)
    clock = Clock(lambda stage: None)
    written, checks = write_checked(result.slim, result.model, tmp_path / "model.onnx", clock)
    names = [check.name.removeprefix("onnxruntime equals PyTorch, ") for check in checks]
    own, one, *others = names
    assert (own, one) == ("batch 1", "random parameters, batch 1")
    assert ["height" in name for name in others] == [True, True], "and at two other sizes of images"
    assert "batch 3" in others[0]
    assert max(check.figure for check in checks) <= 1e-4
    assert not any(check.detail for check in checks[1:]), "on random tensors no model may be blind"
    assert written.bytes < 4.2 * result.before.params
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("share", [0.75, 0.5, 0.3])
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "swin_t"])
def test_budgets_are_hit_within_one_percent(name: str, share: float, kind: str) -> None:
    graph = budget_graph(name)
    scores = gp.scoring.find_importance("l2")(graph, graph.program.tensors, 0)
    limits = gp.planning.find_limits(graph, gp.planning.Constraints())
    kept = gp.planning.choose(graph, scores, gp.planning.Budget(kind, share), limits)
    sizes = {
        group: int(mask.sum()) // (mask.shape[0] if mask.dim() == 2 else 1) for group, mask in kept.items()
    }
    reached = getattr(graph.cost(sizes), kind) / getattr(graph.cost(), kind)
    assert share * 0.99 <= reached <= share


_GRAPHS: dict[str, gp.DependencyGraph] = {}


def budget_graph(name: str) -> gp.DependencyGraph:
    if name not in _GRAPHS:
        _GRAPHS[name] = gp.trace(*torchvision_example(name))
    return _GRAPHS[name]
