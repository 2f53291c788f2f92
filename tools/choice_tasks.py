"""What `bench_choice` measures: real pretrained models, what they are calibrated on, and how faithful a slim one is.

Calibration and test data never overlap: other faces, other digits, other photographs, other packages' texts, other
tones. Everything is read from installed packages, nothing is downloaded, and all of it is the same at each call.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import log10
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models_zoo
from models_zoo import crepe, digits, minilm, mnist, mtcnn, wheels

__all__ = ["TASKS", "Outputs", "Task", "called", "joined", "make_task"]

Outputs = Callable[[Any, Any], Tensor]
CALIBRATED = 96  # examples, each a batch of its own, so that squared gradients are those of single examples
CROP = 224


@dataclass(frozen=True)
class Task:
    """One model with its data.

    Args:
        batches: calibration batches of one example, each ``(inputs, target)``.
        loss: ``loss(outputs, batch)`` for criteria that take gradients; None takes the default of each tool.
        tests: held-out inputs, each what the model is called with.
        labels: of the held-out examples, where there are any.
        outputs: what counts of (what the model returned, its inputs), ``[examples, ...]``.
        compare: figures from (slim, original, labels); the first is the headline, higher is better.
        fixed: layers that torch-pruning must not touch, since their outputs are the model's.
        data: what it is, for the table.
        held: layers whose flattened outputs torch-pruning mixes up; both tools are tried with and without holding them.
        heavy: whether a cut takes seconds, so that fewer choices are tried.
        train: examples and labels to fine-tune on, where there are more than those of ``batches``.
    """

    name: str
    model: nn.Module
    example: tuple[tuple[Any, ...], dict[str, Any]]
    batches: list[tuple[Any, Any]]
    loss: Callable[..., Tensor] | None
    tests: list[Any]
    labels: Tensor | None
    outputs: Outputs
    compare: Callable[[Tensor, Tensor, Tensor | None], dict[str, float]]
    fixed: tuple[str, ...]
    data: str
    held: tuple[str, ...] = ()
    heavy: bool = False
    train: tuple[Tensor, Tensor] | None = None

    def sample(self) -> list[tuple[Any, Any]]:
        """Calibration examples to measure slim models on, in batches of 8; of a heavy model few of them."""
        count = 32 if self.heavy else CALIBRATED
        chosen = self.batches[:: max(len(self.batches) // count, 1)][:count]
        rows = [chosen[start : start + 8] for start in range(0, len(chosen), 8)]
        return [(joined([x for x, _ in row]), joined([y for _, y in row])) for row in rows]

    def harm(self, slim: Tensor, original: Tensor) -> float:
        """How far it is from the original: the divergence, or one less the mean cosine."""
        figures = self.compare(slim, original, None)
        return figures["kl"] if "kl" in figures else 1 - figures["cosine"]

    def run(self, model: Callable[..., Any], batches: list[Any] | None = None) -> Tensor:
        """What the model says on the held-out inputs, or on others."""
        with torch.no_grad():
            given = self.tests if batches is None else batches
            return torch.cat([self.outputs(called(model, inputs), inputs) for inputs in given])


def called(model: Callable[..., Any], inputs: Any) -> Any:
    """The model on a tensor, or on keywords."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def joined(parts: list[Any]) -> Any:
    """Batches as one: of tensors, of keywords, or nothing."""
    if isinstance(parts[0], Mapping):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return None if parts[0] is None else torch.cat(parts)


# ---- figures -------------------------------------------------------------------------------------------------------


def _classes(slim: Tensor, original: Tensor, labels: Tensor | None) -> dict[str, float]:
    """Of log probabilities ``[examples, classes]``."""
    figures = {} if labels is None else {"accuracy": _share(slim.argmax(1) == labels)}
    figures["agreement"] = _share(slim.argmax(1) == original.argmax(1))
    figures["kl"] = float((original.exp() * (original - slim)).sum(1).mean())
    return figures


def _cosine(slim: Tensor, original: Tensor, labels: Tensor | None) -> dict[str, float]:
    """Of embeddings ``[texts, width]``: cosines, and whether each text is nearest to its own."""
    cosines = F.normalize(slim, dim=1) @ F.normalize(original, dim=1).T
    own = torch.arange(len(cosines))
    return {"cosine": float(cosines.diagonal().mean()), "retrieval": _share(cosines.argmax(1) == own)}


def _pitches(slim: Tensor, original: Tensor, labels: Tensor | None) -> dict[str, float]:
    """Of logits ``[tones, bins]``: raw pitch accuracy (within 50 cents), and the divergence of all bins."""
    p = original.sigmoid()
    kl = p * (F.logsigmoid(original) - F.logsigmoid(slim)) + (1 - p) * (
        F.logsigmoid(-original) - F.logsigmoid(-slim)
    )
    close = (crepe._pitch(slim.sigmoid()) - crepe._pitch(p)).abs() < 50
    figures = {"agreement": _share(close), "kl": float(kl.sum(1).mean())}
    if labels is None:
        return figures
    return {"accuracy": _share((crepe._pitch(slim.sigmoid()) - labels).abs() < 50), **figures}


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()


# ---- tasks ---------------------------------------------------------------------------------------------------------


def _load(name: str) -> tuple[nn.Module, Any]:
    return models_zoo.load(name), models_zoo.get(name).example_inputs(2)


def _examples(inputs: Tensor, labels: Tensor | None = None) -> list[tuple[Tensor, Any]]:
    rows = [inputs[i : i + 1] for i in range(len(inputs))]
    return [(row, None if labels is None else labels[i : i + 1]) for i, row in enumerate(rows)]


def _cross_entropy(logits: Any, batch: Any) -> Tensor:
    return F.cross_entropy(logits, batch[1])


def _faces(name: str, stage: str, size: int) -> Task:
    """Even patches of scikit-image's 100 faces and 100 others to calibrate, odd ones to test."""
    model, example = _load(name)
    patches = torch.from_numpy(wheels.module("scikit-image", "skimage.data").lfw_subset()).float()
    inputs, labels = mtcnn._as_inputs(patches, size), torch.tensor([1] * 100 + [0] * 100)

    def outputs(result: Any, inputs: Any = None) -> Tensor:
        return result[-1].clamp_min(1e-30).log()

    last = {"RNet": ("dense5_1", "dense5_2"), "ONet": ("dense6_1", "dense6_2", "dense6_3")}[stage]
    held = {"RNet": ("conv3",), "ONet": ("conv4",)}[stage]
    return Task(
        name, model, example, _examples(inputs[::2], labels[::2]),
        lambda result, batch: F.nll_loss(outputs(result), batch[1]),
        [inputs[1::2]], labels[1::2], outputs, _classes, last, "lfw_subset: 100 patches, 100 others", held,
    )  # fmt: skip


def _digits(name: str) -> Task:
    model, example = _load(name)
    (images, labels), (others, truth) = digits.split_digits()
    step = len(images) // (2 * CALIBRATED)
    return Task(
        name, model, example, _examples(images[::step], labels[::step]), _cross_entropy, [others], truth,
        _log_softmax, _classes, ("classifier",), "digits: 206 of the training part, the 355 held out",
        train=(images, labels),
    )  # fmt: skip


def _mnist(name: str) -> Task:
    model, example = _load(name)
    images, labels = digits.read_digits()
    images = mnist._as_mnist(images)
    return Task(
        name, model, example, _examples(images[0:800:4], labels[0:800:4]), _cross_entropy,
        list(images[900:].split(128)), labels[900:], _log_softmax, _classes, ("fc_layers.2",),
        "digits as MNIST: 200 of the first 800, the last 897",
    )  # fmt: skip


def _log_softmax(logits: Any, inputs: Any) -> Tensor:
    return logits.log_softmax(1)


PHOTOGRAPHS = (
    ("astronaut", "rocket", "retina", "camera", "moon", "immunohistochemistry"),
    ("cat", "coffee", "stereo_motorcycle", "hubble_deep_field", "coins"),
)


def _imagenet(name: str) -> Task:
    """Random crops of photographs; the original's own likeliest class stands for the labels that there are none of."""
    model, example = _load(name)
    calibration, tests = (_crops(names, seed) for seed, names in enumerate(PHOTOGRAPHS))
    with torch.no_grad():
        said = torch.cat([model(rows).argmax(1) for rows in calibration.split(16)])
    return Task(
        name, model, example, _examples(calibration, said), _cross_entropy, list(tests[::4].split(10)), None,
        _log_softmax, _classes, ("_fc",), f"crops of photographs: {len(calibration)} of six, 20 of five others",
        heavy=True,
    )  # fmt: skip


def _crops(names: tuple[str, ...], seed: int) -> Tensor:
    """16 crops of each photograph, of a quarter to all of its shorter side, every other one mirrored."""
    data = wheels.module("scikit-image", "skimage.data")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for name in names:
        photograph = getattr(data, name)()
        pixels = torch.from_numpy(photograph[0] if isinstance(photograph, tuple) else photograph).float()
        pixels = pixels[..., None].expand(-1, -1, 3) if pixels.dim() == 2 else pixels[..., :3]
        for count in range(16):
            share, y, x = torch.rand(3, generator=generator).tolist()
            side = int(min(pixels.shape[:2]) * (0.25 + 0.75 * share))
            top, left = int(y * (pixels.shape[0] - side)), int(x * (pixels.shape[1] - side))
            crop = pixels[top : top + side, left : left + side].permute(2, 0, 1)[None]
            crop = F.interpolate(crop, (CROP, CROP), mode="bilinear", antialias=True, align_corners=False)
            found.append(crop.flip(-1) if count % 2 else crop)
    return (torch.cat(found) - 127) / 128


def _texts(name: str) -> Task:
    """First sentences of docstrings: of scikit-learn's to calibrate, of scikit-image's to test."""
    model, example = _load(name)
    calibration = minilm._tokenize(_sentences("sklearn", CALIBRATED))
    tests = minilm._tokenize(_sentences("skimage", 96))

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
        outputs, _cosine, fixed, f"docstrings: {CALIBRATED} of scikit-learn, 96 of scikit-image", heavy=True,
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


def _tones(name: str) -> Task:
    """Synthesised harmonic tones: 96 between 80 and 1200 Hz to calibrate, 128 others to test."""
    model, example = _load(name)
    calibration, _ = _windows(CALIBRATED, 1)
    tests, cents = _windows(128, 2)

    def outputs(result: Any, inputs: Any) -> Tensor:
        return result.clamp(1e-7, 1 - 1e-7).logit()

    return Task(
        name, model, example, _examples(calibration), None, list(tests.split(32)), cents, outputs, _pitches,
        ("classifier",), f"synthesised tones: {CALIBRATED} and 128 others", ("conv6",),
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
    "crepe_tiny": _tones,
    "crepe_full": _tones,
    "efficientnet_lite0": _imagenet,
    "minilm": _texts,
}


def make_task(name: str) -> Task:
    """The task of that name, one of `TASKS`."""
    return TASKS[name](name)
