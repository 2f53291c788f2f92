"""The public API, from a model to a directory and back."""

import json
import subprocess
import sys

import pytest
import torch

import graphprune as gp
import models_zoo


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    entry = models_zoo.get("digits_resnet")
    model = models_zoo.load("digits_resnet")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = gp.shrink(model, entry.example_inputs(1), macs=0.7)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    directory = tmp_path_factory.mktemp("saved") / "slim"
    report = result.save(directory)
    return entry, model, result, directory, report


def test_trace_gives_groups_costs_paths_and_a_graph(saved) -> None:
    entry, model, result, _, _ = saved
    graph = gp.trace(model, entry.example_inputs(1))
    assert graph.cost() == result.before
    assert {group.name for group in graph.groups} == set(result.plan.groups)
    network = graph.to_networkx()
    assert {kind for kind, _ in network} == {"operator", "tensor", "axis"}
    layer = graph.groups[0].members[0].layer
    text = graph.explain(layer)
    assert layer in text
    assert "read by" in text
    assert "coupled with" in graph.explain(layer, paths=True)
    assert "through" in graph.explain(layer, paths=True)
    with pytest.raises(gp.InputError, match="did you mean"):
        graph.explain(layer[:-1])


def test_the_directory_holds_everything(saved) -> None:
    _, _, result, directory, report = saved
    names = {path.name for path in directory.iterdir()}
    expected = {
        "model.onnx",
        "model.safetensors",
        "model.py",
        "plan.json",
        "report.json",
        "report.html",
        "shrink.toml",
    }
    assert names == expected
    assert json.loads((directory / "report.json").read_text()) == json.loads(json.dumps(report))
    assert report["verdict"]["passed"]
    assert report["after"]["params"] == sum(p.numel() for p in result.model.parameters())
    assert report["after"]["onnx_bytes"] < report["before"]["onnx_bytes"]
    assert report["latency"]["ratio"] > 0


def test_load_gives_the_same_model_without_pickle(saved) -> None:
    entry, _, result, directory, _ = saved
    loaded = gp.load(directory)
    args, kwargs = entry.example_inputs(3)
    assert torch.equal(loaded(*args, **kwargs), result.model(*args, **kwargs))
    assert loaded.state_dict().keys() == result.model.state_dict().keys()
    for path in directory.glob("model.safetensors"):
        assert b"pickle" not in path.read_bytes()[:200]


def test_model_py_needs_only_torch_and_safetensors(saved) -> None:
    entry, _, result, directory, _ = saved
    torch.save(entry.example_inputs(2)[0][0], directory.parent / "x.pt")
    code = (
        "import sys; sys.modules['graphprune'] = None\n"
        f"sys.path.insert(0, {str(directory)!r})\n"
        "import torch, model\n"
        f"x = torch.load({str(directory.parent / 'x.pt')!r}, weights_only=True)\n"
        "print(model.load()(x).double().sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = result.model(entry.example_inputs(2)[0][0]).double().sum().item()
    assert float(done.stdout) == pytest.approx(expected, rel=1e-6)


def test_a_plan_replays_to_the_same_model(saved) -> None:
    entry, model, result, directory, _ = saved
    plan = gp.Plan.from_json((directory / "plan.json").read_text())
    again = gp.shrink(model, entry.example_inputs(1), plan=plan)
    pairs = zip(result.model.state_dict().values(), again.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert all(isinstance(kept, torch.Tensor) for dims in plan.kept.values() for kept in dims.values())


def test_the_slim_model_trains(saved) -> None:
    entry, model, _, _, _ = saved
    slim = gp.shrink(model, entry.example_inputs(2), ratio=0.3).model
    slim.train()
    optimizer = torch.optim.SGD(slim.parameters(), lr=0.1)
    before = {name: tensor.clone() for name, tensor in slim.state_dict().items()}
    slim(torch.randn(8, *entry.example_inputs(1)[0][0].shape[1:])).square().mean().backward()
    optimizer.step()
    changed = {name for name, tensor in slim.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed >= {name for name, _ in slim.named_parameters()}
    assert any(name.endswith("running_mean") for name in changed)
    assert set(before) <= set(model.state_dict())


def test_results_do_not_depend_on_hash_order() -> None:
    code = (
        "import graphprune as gp, models_zoo, hashlib\n"
        "e = models_zoo.get('digits_resnet'); m = models_zoo.load('digits_resnet')\n"
        "p = gp.shrink(m, e.example_inputs(1), macs=0.5, importance='random', seed=3).plan\n"
        "print(hashlib.sha256(p.to_json().encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no budget is given"),
        ({"macs": 0.5, "ratio": 0.5}, "macs and ratio are given together"),
        ({"macs": 1.5}, "out of range"),
        ({"ratio": 1.0}, "out of range"),
        ({"macs": 0.5, "importance": "l3"}, "unknown importance"),
        ({"macs": 0.5, "align": 0}, "align"),
        ({"macs": 0.5, "protect": ["nowhere"]}, "matches no layer"),
        ({"macs": 0.0001}, "cannot be reached"),
    ],
)
def test_bad_options_say_what_to_do(options, message) -> None:
    entry = models_zoo.get("mlp")
    with pytest.raises(gp.GraphpruneError, match=message) as caught:
        gp.shrink(entry.build(), entry.example_inputs(1), **options)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


class Gated(torch.nn.Module):
    """Dimensions unfolded by method, booleans combined; ``halves`` joins two inputs along the batch first."""

    def __init__(self, halves: bool) -> None:
        super().__init__()
        self.first = torch.nn.Linear(8, 64)
        self.last = torch.nn.Linear(64, 3)
        self.halves = halves

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.halves:
            a, b = self.first(torch.cat([x, y])).unflatten(-1, (4, 16)).chunk(2, 0)
        else:
            a, b = (self.first(z).unflatten(-1, (4, 16)) for z in (x, y))
        mask = (a > 0) & (b < 1)
        return self.last((a * b * mask).flatten(1))


def test_halves_of_a_batch_are_taken_apart_again() -> None:
    inputs = (torch.randn(2, 8), torch.randn(2, 8))
    result = gp.shrink(Gated(halves=True), inputs, ratio=0.5, importance="random")
    assert result.after.params < 0.6 * result.before.params
    assert result.model(torch.randn(5, 8), torch.randn(5, 8)).shape == (5, 3)


def test_methods_and_booleans_are_saved_and_loaded(tmp_path) -> None:
    inputs = (torch.randn(2, 8), torch.randn(2, 8))
    result = gp.shrink(Gated(halves=False), inputs, ratio=0.5, importance="random")
    result.save(tmp_path / "slim", latency=False)
    assert torch.equal(gp.load(tmp_path / "slim")(*inputs), result.model(*inputs))
    assert (tmp_path / "slim" / "model.safetensors").stat().st_mode & 0o044


def test_a_plan_of_another_model_says_so() -> None:
    entries = [models_zoo.get(name) for name in ("mlp", "convnet")]
    plan = gp.shrink(entries[0].build(), entries[0].example_inputs(1), ratio=0.5).plan
    with pytest.raises(gp.PlanError, match="made for another model"):
        gp.shrink(entries[1].build(), entries[1].example_inputs(1), plan=plan)
