"""Times graphprune against torch-pruning on the same models in one run.

    python tools/bench_peer.py resnet18 swin_t --limit 120

For each model and each tool a fresh process builds the model with random weights, removes half of every group
by L2 magnitude and reports CPU seconds per stage and the growth of peak memory. torch-pruning: dependency
graph, then one step of its pruner. graphprune: capture, then analysis, scoring, planning, rewriting and
raising. One thread. Prints a Markdown table with the ratios; a tool that fails or runs out of time is a row.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from importlib.metadata import version
from time import process_time
from typing import Any

MODELS = [
    "resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "vgg16_bn", "densenet121", "densenet201",
    "convnext_tiny", "regnet_y_400mf", "shufflenet_v2_x1_0", "vit_b_16", "swin_t",
]  # fmt: skip


def peak() -> float:
    """Peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def build(name: str) -> tuple[Any, Any]:
    """The torchvision model with random weights, and an example input of batch 1."""
    import torch

    from models_zoo.sources import torchvision_model

    torch.set_num_threads(1)
    model, example_inputs, _ = torchvision_model(name, pretrained=False)
    (example,), _ = example_inputs(1)
    return model, example


def ours(name: str) -> dict[str, float]:
    """CPU seconds of graphprune's stages, and MB of memory beyond the model."""
    from graphprune.axes.dependency import build_graph
    from graphprune.capture import capture
    from graphprune.capture.raising import raise_program
    from graphprune.planning import Budget, Constraints, choose, find_limits, make_plan
    from graphprune.rewriting import rewrite
    from graphprune.scoring import find_importance

    model, example = build(name)
    base, start = peak(), process_time()
    program = capture(model, example)
    captured = process_time()
    graph = build_graph(program)
    scores = find_importance("l2")(graph, program.tensors, 0)
    kept = choose(graph, scores, Budget("ratio", 0.5), find_limits(graph, Constraints()))
    slim = raise_program(rewrite(graph, make_plan(graph, kept)))
    end = process_time()
    count = sum(parameter.numel() for parameter in slim.parameters())
    return {"graph": captured - start, "prune": end - captured, "memory": peak() - base, "params": count}


def theirs(name: str) -> dict[str, float]:
    """CPU seconds of torch-pruning's dependency graph and step, and MB of memory beyond the model."""
    import torch
    import torch_pruning

    model, example = build(name)
    classifiers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1000]
    base, start = peak(), process_time()
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=classifiers,
    )
    traced = process_time()
    pruner.step()
    end = process_time()
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"graph": traced - start, "prune": end - traced, "memory": peak() - base, "params": count}


def measure(tool: str, name: str, limit: float) -> dict[str, Any]:
    """Runs one tool on one model in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, "--child", tool, name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failure": f"over {limit:.0f} s"}
    if done.returncode:
        return {"failure": (done.stderr.strip().splitlines() or ["failed"])[-1][:60]}
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, mine: dict[str, Any], peer: dict[str, Any]) -> str:
    """One line of the table; ratios below 1 mean that graphprune takes less."""

    def cells(figures: dict[str, Any]) -> str:
        if "failure" in figures:
            return f"{figures['failure']} | – | –"
        return f"{figures['graph']:.2f} + {figures['prune']:.2f} | {figures['memory']:.0f} | {figures['params']:,.0f}"

    ratio = memory = "–"
    if "failure" not in mine and "failure" not in peer:
        ratio = f"{(mine['graph'] + mine['prune']) / (peer['graph'] + peer['prune']):.2f}"
        memory = f"{mine['memory'] / max(peer['memory'], 1):.2f}"
    return f"| {name} | {cells(mine)} | {cells(peer)} | {ratio} | {memory} |"


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=MODELS, help="torchvision model names")
    parser.add_argument("--limit", type=float, default=120, help="seconds for one tool on one model")
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps({"ours": ours, "theirs": theirs}[options.child](options.models[0])))
        return
    names = " ".join(f"{name} {version(name)}" for name in ("graphprune", "torch-pruning", "torch"))
    print(f"{names}; CPU seconds, one thread; memory in MB beyond the model\n")
    print(
        "| model | graphprune: capture + rest | MB | params | torch-pruning: graph + step | MB | params "
        "| s ratio | MB ratio |"
    )
    print("| --- " * 9 + "|")
    for name in options.models:
        print(
            row(name, measure("ours", name, options.limit), measure("theirs", name, options.limit)),
            flush=True,
        )


if __name__ == "__main__":
    main()
