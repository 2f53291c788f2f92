"""What `bench_choice` measures: real pretrained models, what they are calibrated on, and how faithful a slim one is.

Calibration and test data never overlap: other faces, other digits, other photographs, other packages' texts, other
tones. Everything is read from installed packages, nothing is downloaded, and all of it is the same at each call.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from math import log10
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from bench_task import (
    CALIBRATED,
    Task,
    classes,
    cosine,
    cross_entropy,
    examples,
    load,
    log_softmax,
    pitches,
)
from photographs import crops
from torch import Tensor

from models_zoo import crepe, digits, minilm, mnist, mtcnn, wheels

__all__ = ["TASKS", "make_task", "tones"]


# ---- tasks ---------------------------------------------------------------------------------------------------------


def _faces(name: str, stage: str, size: int) -> Task:
    """Even patches of scikit-image's 100 faces and 100 others to calibrate, odd ones to test."""
    model, example = load(name)
    patches = torch.from_numpy(wheels.module("scikit-image", "skimage.data").lfw_subset()).float()
    inputs, labels = mtcnn._as_inputs(patches, size), torch.tensor([1] * 100 + [0] * 100)

    def outputs(result: Any, inputs: Any = None) -> Tensor:
        return result[-1].clamp_min(1e-30).log()

    last = {"RNet": ("dense5_1", "dense5_2"), "ONet": ("dense6_1", "dense6_2", "dense6_3")}[stage]
    held = {"RNet": ("conv3",), "ONet": ("conv4",)}[stage]
    return Task(
        name, model, example, examples(inputs[::2], labels[::2]),
        lambda result, batch: F.nll_loss(outputs(result), batch[1]),
        [inputs[1::2]], labels[1::2], outputs, classes, last, "lfw_subset: 100 patches, 100 others", held,
    )  # fmt: skip


def _digits(name: str) -> Task:
    model, example = load(name)
    (images, labels), (others, truth) = digits.split_digits()
    step = len(images) // (2 * CALIBRATED)
    return Task(
        name, model, example, examples(images[::step], labels[::step]), cross_entropy, [others], truth,
        log_softmax, classes, ("classifier",), "digits: 206 of the training part, the 355 held out",
        train=(images, labels),
    )  # fmt: skip


def _mnist(name: str) -> Task:
    model, example = load(name)
    images, labels = digits.read_digits()
    images = mnist._as_mnist(images)
    return Task(
        name, model, example, examples(images[0:800:4], labels[0:800:4]), cross_entropy,
        list(images[900:].split(128)), labels[900:], log_softmax, classes, ("fc_layers.2",),
        "digits as MNIST: 200 of the first 800, the last 897",
    )  # fmt: skip


PHOTOGRAPHS = (
    ("astronaut", "rocket", "retina", "camera", "moon", "immunohistochemistry"),
    ("cat", "coffee", "stereo_motorcycle", "hubble_deep_field", "coins"),
)


def _imagenet(name: str) -> Task:
    """Random crops of photographs; the original's own likeliest class stands for the labels that there are none of."""
    model, example = load(name)
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    calibration, tests = (
        torch.cat([crops(photograph, generator) for photograph in names])
        for names, generator in zip(PHOTOGRAPHS, generators, strict=True)
    )
    with torch.no_grad():
        said = torch.cat([model(rows).argmax(1) for rows in calibration.split(16)])
    return Task(
        name, model, example, examples(calibration, said), cross_entropy, list(tests[::4].split(10)), None,
        log_softmax, classes, ("_fc",), f"crops of photographs: {len(calibration)} of six, 20 of five others",
        heavy=True,
    )  # fmt: skip


def _texts(name: str) -> Task:
    """First sentences of docstrings: of scikit-learn's to calibrate, of scikit-image's to test."""
    model, example = load(name)
    calibration = minilm.tokenize(_sentences("sklearn", CALIBRATED))
    tests = minilm.tokenize(_sentences("skimage", 96))

    def rows(encoded: dict[str, Tensor], size: int) -> list[dict[str, Tensor]]:
        parts = zip(*(value.split(size) for value in encoded.values()), strict=True)
        return [dict(zip(encoded, part, strict=True)) for part in parts]

    def outputs(result: Any, inputs: Any) -> Tensor:
        """The mean over the tokens that are no padding."""
        hidden = minilm._last_hidden_state(result)
        mask = inputs["attention_mask"][..., None].to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)

    fixed = ("encoder.layer.5.output.LayerNorm", "encoder.layer.5.output.dense", "pooler.dense")
    return Task(
        name, model, example, [(row, None) for row in rows(calibration, 1)], None, rows(tests, 64), None,
        outputs, cosine, fixed, f"docstrings: {CALIBRATED} of scikit-learn, 96 of scikit-image", heavy=True,
    )  # fmt: skip


def _sentences(package: str, count: int) -> list[str]:
    """First sentences of at least six words of public functions and classes, at equal distances, no two the same."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(next(iter(spec.submodule_search_locations)))
    found = list(dict.fromkeys(_documented(root)))
    return found[:: len(found) // count][:count]


def _documented(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.py")):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            text = (ast.get_docstring(node) or "").split("\n\n")[0] if public else ""
            sentence = " ".join(text.split())
            if len(sentence.split()) >= 6:
                yield sentence


def tones(name: str, tests: int = 128) -> Task:
    """Synthesised harmonic tones: 96 between 80 and 1200 Hz to calibrate, others to test."""
    model, example = load(name)
    calibration, _ = _windows(CALIBRATED, 1)
    windows, cents = _windows(tests, 2)

    def outputs(result: Any, inputs: Any) -> Tensor:
        return result.clamp(1e-7, 1 - 1e-7).logit()

    return Task(
        name, model, example, examples(calibration), None, list(windows.split(32)), cents, outputs, pitches,
        ("classifier",), f"synthesised tones: {CALIBRATED} and {tests} others", ("conv6",),
    )  # fmt: skip


def _windows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(count, 1024) windows and their pitches in cents above 10 Hz; overtones fall off at random rates."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    frequencies = 10 ** (log10(80) + uniform(count) * log10(1200 / 80))
    harmonics = torch.arange(1, crepe.HARMONICS + 1)
    partials = frequencies[:, None] * harmonics
    amplitudes = harmonics ** -(0.5 + 1.5 * uniform(count, 1)) * (partials < crepe.SAMPLE_RATE / 2)
    time = torch.arange(crepe.WINDOW) / crepe.SAMPLE_RATE
    phases = 2 * torch.pi * (partials[..., None] * time + uniform(count, crepe.HARMONICS, 1))
    windows = (amplitudes[..., None] * phases.sin()).sum(1)
    windows = windows + 0.03 * torch.randn(count, crepe.WINDOW, generator=generator)
    deviation, mean = torch.std_mean(windows, dim=1, keepdim=True)
    return (windows - mean) / deviation, 1200 * torch.log2(frequencies / 10)


TASKS: Mapping[str, Callable[[str], Task]] = {
    "mtcnn_rnet": lambda name: _faces(name, "RNet", 24),
    "mtcnn_onet": lambda name: _faces(name, "ONet", 48),
    "digits_cnn_mnist": _mnist,
    "digits_resnet": _digits,
    "crepe_tiny": tones,
    "crepe_full": tones,
    "efficientnet_lite0": _imagenet,
    "minilm": _texts,
}


def make_task(name: str) -> Task:
    """The task of that name, one of `TASKS`."""
    return TASKS[name](name)
