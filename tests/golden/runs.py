"""What a set of models and options comes to, in a form that a change of the code must not change.

``python tests/golden/runs.py`` writes the record anew. Do so only where a difference is wanted, and say why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import graphprune as gp
import models_zoo
from models_zoo.blocks import BLOCKS
from models_zoo.small_transformers import SMALL_TRANSFORMERS

__all__ = ["RUNS", "outcome", "read", "write"]

RECORD = Path(__file__).with_name("runs.json")
CRITERIA = ("l1", "linf", "lamp", "bn_scale", "fpgm", "cosine", "random", "l2:max:mean")
DATA = (
    "activation_mean",
    "apoz",
    "wanda",
    "reconstruction",
    "refit",
    "refit_shrunk",
    "taylor",
    "obd",
    "fisher",
)


def _plain() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every ranking, criterion and kind of budget that needs no timing."""
    rankings = ("global", "uniform", "isomorphic", "per_cost")
    return {
        **{f"ranking {name}": ("yolo_c3", {"macs": 0.5, "ranking": name}) for name in rankings},
        **{f"criterion {name}": ("digits_resnet", {"params": 0.6, "importance": name}) for name in CRITERIA},
        "ratio": ("unet_bilinear", {"ratio": 0.3}),
        "macs and params": ("mlp_mixer", {"macs": 0.7, "params": 0.6}),
        "memory": ("yolo_c3", {"memory": 0.8}),
        "amount": ("squeeze_excite", {"params": "3k"}),
        "limits": (
            "digits_resnet",
            {"macs": 0.7, "align": 4, "min_keep": 8, "max_ratio": 0.6, "protect": ("*.0.*",)},
        ),
        "ratios": ("text_cnn", {"ratio": 0.2, "ratios": {"2.1*": 0.5}}),
        "rounds": ("digits_resnet", {"macs": 0.5, "rounds": 3, "schedule": "geometric"}),
        "rounds, aligned": ("yolo_c3", {"macs": 0.5, "rounds": 2, "align": 2}),
        "lstm": ("lstm", {"params": 0.6}),
        "gru": ("gru_tagger", {"ratio": 0.4}),
        "norms": ("weight_standardised", {"macs": 0.6}),
        "spectral": ("spectral_norm", {"macs": 0.5}),
        "time": ("temporal_conv", {"macs": 0.5}),
        "lossless": ("digits_resnet", {"lossless": True}),
        "lossless, dead units": ("squeeze_excite, dead", {"lossless": True}),
        "lossless, protected": ("squeeze_excite, dead", {"lossless": True, "protect": ("1.*",)}),
        "bytes": ("squeeze_excite", {"onnx_bytes": 0.7}),
        "bert": ("bert", {"params": 0.7}),
        "llama": ("llama", {"macs": 0.6, "outputs": ("logits",)}),
        "vit": ("vit", {"ratio": 0.25}),
    }


def _data_driven() -> dict[str, tuple[str, dict[str, Any]]]:
    """Runs that look at calibration data; they get some."""
    return {
        **{f"criterion {name}": ("digits_resnet", {"macs": 0.6, "importance": name}) for name in DATA},
        "auto": ("yolo_c3", {"macs": 0.7, "importance": "auto", "repair": False}),
        "auto, repaired": ("squeeze_excite", {"macs": 0.7, "importance": "auto", "repair": True}),
        "trials": ("squeeze_excite", {"macs": 0.6, "importance": "l2", "trials": 6}),
        "repair": ("digits_resnet", {"macs": 0.6, "importance": "l2", "repair": True}),
        "repair, lstm": ("lstm", {"params": 0.7, "importance": "l2", "repair": True}),
        "repair in rounds": ("digits_resnet", {"macs": 0.6, "rounds": 2, "importance": "l2", "repair": True}),
    }


RUNS: Mapping[str, tuple[str, dict[str, Any]]] = {
    **_plain(),
    **{f"data: {name}": (model, {"calibration": True, **o}) for name, (model, o) in _data_driven().items()},
}


@lru_cache(8)
def _graph(name: str, outputs: tuple[str, ...]) -> tuple[gp.DependencyGraph, Any]:
    base, _, dead = name.partition(", ")
    entry = (
        models_zoo.get(base) if base in models_zoo.ENTRIES else BLOCKS.get(base) or SMALL_TRANSFORMERS[base]
    )
    model = models_zoo.load(base) if base in models_zoo.ENTRIES else entry.build()
    torch.manual_seed(0)
    for module in model.modules():
        # norms that scale by one would be equal under criteria that look at them
        if isinstance(module, torch.nn.BatchNorm2d) and base in BLOCKS:
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            if dead:
                torch.nn.init.zeros_(module.weight[:5])
                torch.nn.init.zeros_(module.bias[:5])
    return gp.trace(model, entry.example_inputs(2), outputs=outputs), entry.example_inputs(8)


def outcome(name: str) -> dict[str, Any]:
    """What is kept of every tensor as a digest, the costs, the verdict, and figures of a repair and of "auto"."""
    model, options = RUNS[name]
    graph, batch = _graph(model, options.get("outputs", ()))
    given = {key: value for key, value in options.items() if key != "outputs"}
    if given.pop("calibration", False):
        given["calibration"] = [batch, batch]
    result = (
        gp.shrink(graph, **{"align": 1, **given}) if not given.get("lossless") else gp.shrink(graph, **given)
    )
    kept = {
        tensor: {dim: indices.tolist() for dim, indices in dims.items()}
        for tensor, dims in sorted(result.plan.kept.items())
    }
    asked = result.plan.request
    return {
        "plan": hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16],
        "macs": [result.before.macs, result.after.macs],
        "params": [result.before.params, result.after.params],
        "checks": [f"{check.name}: {check.passed}" for check in result.verdict.checks],
        **({"repaired": len(result.repair.tensors)} if result.repair else {}),
        **({"best": f"{asked['importance']}, {asked['ranking']}"} if "tried" in asked else {}),
    }


def read() -> dict[str, dict[str, Any]]:
    """The record: run → outcome. Verdicts are listed once in the file, since most runs have the same."""
    found = json.loads(RECORD.read_text(encoding="utf-8"))
    return {run: {**was, "checks": found["verdicts"][was["checks"]]} for run, was in found["runs"].items()}


def write() -> None:
    """Makes every run, and the record of them."""
    verdicts: list[list[str]] = []
    rows = []
    for run in RUNS:
        found = outcome(run)
        if found["checks"] not in verdicts:
            verdicts.append(found["checks"])
        rows.append(
            f"  {json.dumps(run)}: {json.dumps({**found, 'checks': verdicts.index(found['checks'])})}"
        )
        print(rows[-1], flush=True)
    listed = json.dumps(verdicts, indent=1)
    text = '{"runs": {\n' + ",\n".join(rows) + '\n},\n"verdicts": ' + listed + "}\n"
    RECORD.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write()
