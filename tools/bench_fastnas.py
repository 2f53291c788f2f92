"""How much of a model graphprune and FastNAS, the pruning of NVIDIA ModelOpt, can shrink.

    pip install -c constraints.txt nvidia-modelopt    # a peer, no dependency of graphprune
    python tools/bench_fastnas.py --table    # to docs/fastnas.md

Models have random weights; each tool analyses each model in a process of its own, and nothing is removed.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from graphprune.axes.dependency import build_graph
from graphprune.capture import capture
from models_zoo.sources import torchvision_model

try:
    import modelopt.torch.nas as mtn
    from modelopt.torch.opt.dynamic import DynamicSpace
    from modelopt.torch.prune.fastnas import FastNASConfig
except ModuleNotFoundError as error:
    raise SystemExit(f"{error.name} is missing: pip install -c constraints.txt nvidia-modelopt") from None

MODELS = """resnet18 resnet50 resnext50_32x4d mobilenet_v2 mobilenet_v3_small mnasnet1_0 efficientnet_b0 regnet_y_400mf
shufflenet_v2_x1_0 densenet121 googlenet inception_v3 vgg16_bn squeezenet1_1 convnext_tiny vit_b_16 swin_t""".split()
# Two choices make a layer configurable; with more, FastNAS tries millions of sums at each concatenation.
RULES = {"ratio": (0.5, 1.0), "divisor": 1}
INTRODUCTION = """\
# Reach beside FastNAS

FastNAS is the structural pruning of NVIDIA ModelOpt. `python tools/bench_fastnas.py --table` makes the table: each
model with random weights, nothing searched or removed.
Measured {date} with {versions}.

- The share of parameters of which a dimension can shrink, *graphprune*: because they stand in a group; *FastNAS*:
  because their layer has a configurable hyperparameter, that is one with more than one choice, for its outputs or, if
  it is no bias, for its inputs. Any width may be chosen here; by default FastNAS takes multiples of 32.
- *knobs*: different configurable hyperparameters; layers that shrink together share one.
- Only parameters that the output in eval mode depends on are counted; those of auxiliary heads are not.

| model | graphprune | FastNAS | its knobs | outcome of FastNAS |
| --- | --- | --- | --- | --- |
"""


def ours(name: str) -> dict[str, Any]:
    """The share of parameters in at least one group, and how many parameters there are."""
    model, example_inputs, _ = torchvision_model(name, pretrained=False)
    graph = build_graph(capture(model, example_inputs(1)))
    members = {member.tensor for group in graph.groups for member in group.members}
    stored = [item for item in graph.program.stored.values() if item.kind == "parameter"]
    reached, params = sum(item.tensor.numel() for item in stored if item.name in members), graph.cost().params
    return {"share": reached / params, "params": params}


def theirs(name: str) -> dict[str, Any]:
    """The share of parameters that FastNAS can shrink, its knobs, and how many parameters there are."""
    model, example_inputs, _ = torchvision_model(name, pretrained=False)
    (example,), _ = example_inputs(1)
    model(example).sum().backward()
    owners = [(key.rpartition(".")[0], p) for key, p in model.named_parameters() if p.grad is not None]
    model.zero_grad()
    config = FastNASConfig().model_dump()
    for rule in (rule for patterns in config.values() if patterns for rule in patterns.values()):
        rule |= {key: RULES[end] for key in rule if (end := key.rpartition("_")[2]) in RULES}
    space = DynamicSpace(mtn.convert(model, [("fastnas", config)]))
    knobs = {key.rpartition(".")[::2]: knob for key, knob in space.named_hparams() if knob.is_configurable}
    layers = {layer for layer, _ in knobs}
    outputs = {layer for layer, kind in knobs if not kind.startswith("in_")}  # biases follow these alone
    reached = sum(p.numel() for layer, p in owners if layer in (layers if p.dim() > 1 else outputs))
    params, count = sum(p.numel() for _, p in owners), len({id(knob) for knob in knobs.values()})
    return {"share": reached / params, "knobs": count, "params": params}


def run(tool: Callable[[str], dict[str, Any]], name: str, limit: float) -> dict[str, Any]:
    """What one tool says of one model, in a process of its own; an error of any kind is its failure."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            return pool.apply_async(tool, (name,)).get(limit)
        except Exception as error:  # FastNAS's and torch.fx's errors have no common base class
            said = " ".join(str(error).split()) or f"no answer in {limit:.0f} s"
            return {"failure": f"{type(error).__name__}: {said}"[:160].replace("|", "/")}


def row(name: str, mine: dict[str, Any], peer: dict[str, Any]) -> str:
    """One line of the table. Says so where the two tools do not count the same parameters."""
    share = f"{mine['share']:.2%}" if "share" in mine else mine["failure"]
    if "failure" in peer:
        return f"| {name} | {share} | – | – | {peer['failure']} |"
    outcome = "converted" if mine.get("params") == peer["params"] else f"counts {peer['params']} parameters"
    return f"| {name} | {share} | {peer['share']:.2%} | {peer['knobs']} | {outcome} |"


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, help="torchvision model names")
    parser.add_argument("--limit", type=float, default=120, help="seconds for one tool on one model")
    parser.add_argument("--table", type=Path, nargs="?", const=Path("docs/fastnas.md"), metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = [f"{name} {version(name)}" for name in "graphprune nvidia-modelopt torch torchvision".split()]
    page = INTRODUCTION.format(date=date.today().isoformat(), versions=", ".join(versions))
    for name in options.models:
        page += row(name, *(run(tool, name, options.limit) for tool in (ours, theirs))) + "\n"
        print(page.splitlines()[-1], flush=True)
    if options.table:
        options.table.write_text(page)


if __name__ == "__main__":
    main()
