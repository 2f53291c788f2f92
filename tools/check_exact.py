"""Removes a random half of every group of many models and proves each slim model exact.

    python tools/check_exact.py                 # the models the project promises, ONNX too
    python tools/check_exact.py resnet18 zoo:minilm --no-onnx

One line per model: worst relative error of any node in float64 on random tensors and in float32 on the
model's own, what is left of parameters and multiply-accumulates, seconds per stage, and onnxruntime's error at
one example on the model's own tensors, at other sizes on random ones; "blind" where outputs hardly depend on inputs.
Exits with 1 if any model fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphprune.verifying import Check

MODELS = [
    "resnet18", "resnet50", "resnext50_32x4d", "vgg16_bn", "densenet121", "mobilenet_v2", "mobilenet_v3_small",
    "mobilenet_v3_large", "efficientnet_b0", "shufflenet_v2_x1_0", "regnet_y_400mf", "googlenet", "inception_v3",
    "convnext_tiny", "vit_b_16", "swin_t", "swin_v2_t", "maxvit_t", "deeplabv3_mobilenet_v3_large",
]  # fmt: skip


def check(name: str, onnx: bool) -> str:
    """One model in this process; returns its line. Raises where it fails."""
    import torch

    import graphprune
    from graphprune.ground.clock import Clock
    from graphprune.results.onnx_checks import write_checked
    from models_zoo import get, load
    from models_zoo.sources import torchvision_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if name.startswith("zoo:"):
        entry = get(name.removeprefix("zoo:"))
        model, examples = (
            load(entry.name, "published" if entry.load_weights else "none"),
            entry.example_inputs,
        )
    else:
        model, examples, _ = torchvision_model(name, pretrained=False)
    result = graphprune.shrink(model, examples(2), ratio=0.5, importance="random", seed=0)
    errors = {check.name: check.figure for check in result.verdict.checks}
    line = (
        f"| {name} | {result.after.params / result.before.params:.3f} | "
        f"{result.after.macs / max(result.before.macs, 1):.3f} | "
        f"{errors['random parameters, every node']:.1e} | {errors['own parameters, every node']:.1e} | "
    )
    line += " | ".join(
        f"{result.seconds[stage]:.2f}" for stage in ("capture", "analyse", "plan", "rewrite", "verify")
    )
    if not onnx:
        return line + " | – | – | – |"
    start = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock(lambda stage: None)
        _, checks = write_checked(result.graph.program, result.model, Path(folder, "model.onnx"), clock)
    failed = [check for check in checks if not check.passed]
    assert not failed, "; ".join(map(str, failed))
    half = len(checks) // 2  # one check for each batch size; random tensors come last
    return line + f" | {perf_counter() - start:.1f} | {_worst(checks[:half])} | {_worst(checks[half:])} |"


def _worst(checks: Sequence[Check]) -> str:
    blind = any("hardly depend" in check.detail for check in checks)
    return "blind" if blind else f"{max(check.figure for check in checks):.1e}"


def main() -> int:
    """Runs every model in a fresh process and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help="torchvision names, or zoo:NAME; all promised ones if none")
    parser.add_argument("--no-onnx", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(check(options.models[0], not options.no_onnx))
        return 0
    from models_zoo import names

    models = options.models or [*MODELS, *(f"zoo:{name}" for name in names())]
    print(
        "| model | params | MACs | float64 random | own | capture s | analyse | plan | rewrite | verify "
        "| ONNX s | onnxruntime own | random |"
    )
    print("| --- " * 13 + "|")
    failed = []
    for name in models:
        command = [sys.executable, "-W", "ignore", __file__, "--child", name]
        command += ["--no-onnx"] * options.no_onnx
        done = subprocess.run(command, capture_output=True, text=True)
        lines = (done.stdout if not done.returncode else done.stderr).strip().splitlines() or ["failed"]
        print(lines[-1] if not done.returncode else f"| {name} | FAILED: {lines[-1]} |", flush=True)
        failed += [name] * bool(done.returncode)
    print(
        f"\n{len(models) - len(failed)} of {len(models)} exact"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
