"""Times of another device: what follows from them is right where they are, and what is none is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune import exporting
from graphprune.profiling.device import Device, device_latency, layer_key, read_device
from graphprune.profiling.latency import fitted_rates, other_elements, timed_layers


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, groups=64),
        nn.Conv2d(64, 96, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(384, 10),
    ).eval()


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    return gp.trace(model(), torch.randn(2, 3, 16, 16))


@pytest.fixture(scope="module")
def kit(graph: gp.DependencyGraph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device") / "kit"
    gp.write_kit(graph, None, folder)
    return folder


def rate(place: int) -> float:
    """Milliseconds per multiply-accumulate of a made device; every layer has its own."""
    return 1e-6 * (1 + place % 3)


PER_ELEMENT, CALL = 2e-6, 0.05


def made_device(
    graph: gp.DependencyGraph, kit: Path, nodes: bool
) -> tuple[dict[str, Any], Callable[..., float]]:
    """Times by a formula, and the formula."""
    document = json.loads((kit / "kit.json").read_text())
    document["device"] = {"name": "made", "runtime": "formula"}
    timed = timed_layers(graph)
    others = other_elements(graph, {item.layer.operation.name for item in timed})
    unit = dict(graph.batch_sizes(dict.fromkeys(graph.program.batch_primes, 1)))

    def parts(sizes: dict[str, int]) -> dict[str, float]:
        from math import prod

        from graphprune.axes.terms import size_of

        at = {**unit, **{graph.by_name[name].atom: size for name, size in sizes.items()}}
        found = {
            layer_key(graph, item): rate(place if nodes else 0) * item.amounts(at)[0]
            for place, item in enumerate(timed)
        }
        made = sum(prod(size_of(term, at) for term in terms) for terms in others)
        return {**found, "": PER_ELEMENT * made + CALL}

    for row in document["models"].values():
        spent = parts(row["sizes"])
        row["ms"] = [sum(spent.values())]
        if nodes:
            row["nodes"] = [
                [f"{name}/node" if name else "node_relu", "Conv" if name else "Relu", time]
                for name, time in spent.items()
            ]
    return document, lambda sizes: sum(parts(sizes).values())


@pytest.mark.parametrize("nodes", [True, False])
def test_rates_are_found_again(nodes: bool, graph: gp.DependencyGraph, kit: Path) -> None:
    document, formula = made_device(graph, kit, nodes)
    found = device_latency(graph, Device("times.json", document))
    groups = list(graph.by_name)
    for shares in ((1.0, 0.5), (0.25, 0.8), (0.6, 0.6)):
        sizes = {name: int(graph.by_name[name].size * shares[place % 2]) for place, name in enumerate(groups)}
        by_atom = {graph.by_name[name].atom: size for name, size in sizes.items()}
        assert found.value(by_atom) == pytest.approx(formula(sizes), rel=0.02)


def test_a_plan_keeps_to_the_made_device(graph: gp.DependencyGraph, kit: Path, tmp_path: Path) -> None:
    document, formula = made_device(graph, kit, True)
    times = tmp_path / "times.json"
    times.write_text(json.dumps(document))
    result = gp.shrink(graph, latency=0.5, times=times, fast=True)
    asked = formula(result.plan.sizes) / formula({name: group.size for name, group in graph.by_name.items()})
    assert asked == pytest.approx(0.5, abs=0.04)
    (check,) = [check for check in result.verdict.checks if check.name.startswith("latency")]
    assert check.passed
    assert "the file was not timed there" in check.detail
    assert "made, formula" in check.detail
    (note,) = [note for note in result.notes if "latency" in note]
    assert "of this machine" in note
    assert result.plan.request["times"] == str(times)
    report = result.save(tmp_path / "slim", latency=False)
    assert note in report["notes"]
    assert "times = " in (tmp_path / "slim" / "shrink.toml").read_text()


def test_the_kit_is_small_and_times_itself(graph: gp.DependencyGraph, kit: Path, tmp_path: Path) -> None:
    files = {path.name: path.stat().st_size for path in kit.iterdir()}
    assert all(size < 20_000 for name, size in files.items() if name.endswith(".onnx"))
    assert len([name for name in files if name.endswith(".onnx")]) >= 8
    times = tmp_path / "times.json"
    command = [sys.executable, str(kit / "time_kit.py"), "--threads", "1", "--seconds", "0.1"]
    subprocess.run([*command, "--name", "here", "--output", str(times)], check=True, cwd=tmp_path)
    device = read_device(times)
    assert str(device).startswith("here, onnxruntime")
    assert all(spent > 0 for spent in device.milliseconds.values())
    nodes = {row[0].partition("/")[0] for row in device.document["models"]["model-00.onnx"]["nodes"]}
    assert {"0", "2", "3", "7"} <= nodes  # the layers
    result = gp.plan(graph, latency=0.6, times=times, fast=True)
    assert result.after["latency"] <= 0.601 * result.before["latency"]


def test_a_kit_computes_what_numbers_allow(kit: Path) -> None:
    """Weights are made, but neither so large nor so small that processors compute otherwise with them."""
    with numpy.load(kit / "inputs.npz", allow_pickle=False) as inputs:
        feed = dict(inputs)
    for file in sorted(kit.glob("*.onnx"))[:3]:
        exporting.check_received(file)
        (found,) = exporting.feeder(exporting.session(file), feed)()
        assert numpy.isfinite(found).all()
        assert 1e-6 < numpy.abs(found).max() < 1e6


@pytest.mark.parametrize("tool", ["trtexec", "benchmark_app"])
def test_other_tools(tool: str, kit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    for name in ("kit.json", "time_kit.py"):
        (folder / name).write_bytes((kit / name).read_bytes())
    script = [sys.executable, "-S", str(folder / "time_kit.py")]  # without numpy and onnxruntime
    said = subprocess.run([*script, "--commands", tool], check=True, capture_output=True, text=True).stdout
    models = json.loads((folder / "kit.json").read_text())["models"]
    assert said.count(tool + " ") == len(models)
    assert "1x3x16x16" in said or "[1,3,16,16]" in said
    for place, name in enumerate(models):
        stem = folder / name.removesuffix(".onnx")
        if tool == "trtexec":
            rows = [{"startComputeMs": 0, "computeMs": 1.5 + place, "latencyMs": 9.0}] * 3
            stem.with_suffix(".trtexec.json").write_text(json.dumps(rows))
        else:
            stem.mkdir()
            text = f"Execution results\nfirst inference time (ms);9.00\nlatency (ms);{1.5 + place:.2f}\navg latency;9\n"
            (stem / "benchmark_report.csv").write_text(text)
    subprocess.run([*script, "--collect", tool, "--output", str(tmp_path / "times.json")], check=True)
    spent = list(read_device(tmp_path / "times.json").milliseconds.values())
    assert spent[0] == 1.5
    assert all(other - one == pytest.approx(1) for one, other in pairwise(spent))


def damaged(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def apply(document: dict[str, Any]) -> dict[str, Any]:
        change(document)
        return document

    return apply


def first(document: dict[str, Any]) -> dict[str, Any]:
    return document["models"]["model-00.onnx"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(format=2), "format is 2"),
        (lambda d: d.pop("model"), "it has no model"),
        (lambda d: d.update(model="0" * 16), "another model"),
        (lambda d: first(d).update(ms=[]), "a time that is none"),
        (lambda d: first(d).update(ms=[-1.0]), "a time that is none"),
        (lambda d: first(d).update(ms=["1"]), "ms"),
        (lambda d: first(d)["sizes"].update(nowhere=3), "units of 'nowhere'"),
        (lambda d: first(d)["sizes"].update({next(iter(first(d)["sizes"])): 10**6}), "1000000 units"),
        (lambda d: first(d).update(nodes=[["a", "Conv"]]), "a node that is no name"),
        (lambda d: d.update(models=dict(list(d["models"].items())[:2])), "fewer than"),
    ],
)
def test_what_is_no_times_is_refused(
    change: Callable[[dict[str, Any]], Any], said: str, graph: gp.DependencyGraph, kit: Path, tmp_path: Path
) -> None:
    document, _ = made_device(graph, kit, True)
    times = tmp_path / "times.json"
    times.write_text(json.dumps(damaged(change)(document)))
    with pytest.raises(gp.InputError, match=said) as refused:
        gp.plan(graph, latency=0.5, times=times, fast=True)
    assert "time_kit.py" in refused.value.remedy


def test_options_that_do_not_go_together(graph: gp.DependencyGraph, kit: Path, tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    times.write_text(json.dumps(made_device(graph, kit, True)[0]))
    for options, said in (
        ({"macs": 0.5}, "no latency"),
        ({"latency": 0.5, "threads": 2}, "threads and batch"),
    ):
        with pytest.raises(gp.InputError, match=said):
            gp.plan(graph, times=times, **options)
    with pytest.raises(gp.InputError, match="holds no times"):
        gp.plan(graph, latency=0.5, times=tmp_path / "nowhere.json")


def test_rates_of_few_columns() -> None:
    generator = numpy.random.default_rng(0)
    amounts = generator.uniform(1, 9, (12, 3)) * [1e9, 1e6, 1]
    times = amounts @ [2e-9, 0.0, 0.5]
    assert fitted_rates(amounts.tolist(), times.tolist()) == pytest.approx(
        (2e-9, 0.0, 0.5), rel=1e-6, abs=1e-12
    )
    assert min(fitted_rates(amounts.tolist(), generator.uniform(1, 2, 12).tolist())) >= 0
