"""What every command takes. A field is an argument or option, the docstring what ``--help`` says of the command.

A value is None, false or empty where the user said nothing. ``asked`` stands for options that another dataclass
declares, and holds what was typed of them. Commands that are ``CONFIGURABLE`` also take them all from a file.
"""

# ruff: noqa: RUF009 – fields of the dataclasses are made by calls
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from graphprune.asking.deployment import SHARED, Deployment
from graphprune.asking.names import complete_importance
from graphprune.asking.options import ORDER, ROUNDS, Options
from graphprune.asking.tuning import Tuning
from graphprune.cli.declared import asked_options, named_options
from graphprune.cli.shared_options import (
    DIRECTORY,
    DYNAMIC,
    EXPORT_DTYPE,
    FEED,
    FILE,
    FORCE,
    INPUT,
    JSON,
    MEAN,
    MODEL,
    NO_LATENCY,
    QUIET,
    SHAPES,
    STD,
    TIMINGS,
    TRUST_CODE,
    WEIGHTS,
)
from graphprune.ground.options import COUNTS, FINITE, SEEDS, WORKERS, option, share

__all__ = [
    "DiffRequest",
    "ReportRequest",
    "SensitivityRequest",
    "ShrinkRequest",
    "TuneRequest",
    "VerifyRequest",
    "ZooRequest",
]


@dataclass(frozen=True)
class ShrinkRequest:
    """Removes what matters least, proves the slim model and writes it to a directory."""

    EXAMPLES = (
        "graphprune shrink zoo:mtcnn_rnet --macs 0.5 -o slim",
        "graphprune shrink resnet50 --params 0.6 --align 8 --protect fc -o slim",
        "graphprune shrink mobilenet_v2 --latency 0.6 --onnx-bytes 10MB -o slim",
        "graphprune shrink vit_b_16 --macs 0.5 --dry-run",
        "graphprune shrink resnet18 --macs 0.9,0.7,0.5,0.3 -o curve",
        "graphprune shrink net.py:make --input-shape 1,3,32,32 --ratio 0.5 -o slim",
        "graphprune shrink net.py:make --lossless --weights masked.safetensors -o slim",
        "graphprune shrink net.py:make --macs 0.5 --calibration images.npy --repair -o slim",
        "graphprune shrink detector.onnx --macs 0.5 --input image=1,3,320,320 -o slim",
        "graphprune shrink hf:SmolLM2-135M --params 0.85 -o slim",
        "graphprune shrink zoo:mtcnn_rnet --plan slim/plan.json -o again",
        "graphprune shrink zoo:digits_resnet --macs 0.1 --rounds 3 --tune zoo:digits -o slim",
        "graphprune shrink --config slim/shrink.toml -o again",
    )
    CONFIGURABLE = True

    model: str = MODEL()
    output: Path | None = option(None, "Where the result is written.", None, "DIR", short="-o")
    asked: Mapping[str, Any] = asked_options(Options)
    mean: str | None = option(
        None, "Of images between 0 and 1 in a folder of --calibration; by default ImageNet's.", ORDER, "R,G,B"
    )
    std: str | None = STD(panel=ORDER)
    deploy: Mapping[str, Any] = asked_options(Deployment, SHARED)
    tune: str | None = option(
        None, "Fine-tune in every round; DATA as for graphprune tune --data.", ROUNDS, "DATA"
    )
    tuning: Sequence[str] = option(
        (),
        "A setting of it, such as epochs=5, lr=0.002 or batch=64; may be repeated.",
        ROUNDS,
        "NAME=V",
        list[str],
    )
    evaluate: str | None = FILE(
        "How models are judged, before and after, by --trials, and after the training of every round: file.py:function "
        "of the model that gives a number.",
        ROUNDS,
    )
    min_metric: float | None = option(
        None, "Stop where the figure falls below F; the round before is kept.", ROUNDS, "F", within=FINITE
    )
    weights: str | None = WEIGHTS("published (the default, where there are any), none (random), or a file.")
    input_shape: Sequence[str] = SHAPES()
    input: Sequence[str] = INPUT()
    feed: Path | None = FEED()
    trust_remote_code: bool = TRUST_CODE()
    onnx: bool = option(
        False,
        "Of a folder of transformers: write model.onnx beside it, and of what writes text a step with its past.",
    )
    max_memory: str | None = option(
        None, "Of a folder of transformers: what writing text of its own may take, such as 4GB.", None, "N"
    )
    dry_run: bool = option(False, "Show the plan and what is in reach; cut and write nothing.")
    no_latency: bool = NO_LATENCY()
    force: bool = FORCE()
    json: bool = JSON()
    quiet: bool = QUIET()
    timings: bool = TIMINGS()


@dataclass(frozen=True)
class TuneRequest:
    """Fine-tunes a result of shrink, with the original as teacher; goes on where it was stopped."""

    EXAMPLES = (
        "graphprune tune slim --data images/ --epochs 5",
        "graphprune tune slim --data zoo:digits --epochs 20 --lr 2e-3 --ema 0.99",
        "graphprune tune slim --data train.py:loader --teacher net.py:make -o tuned",
        "torchrun --nproc-per-node 4 -m graphprune.cli tune slim --data images/",
    )
    CONFIGURABLE = True

    directory: Path = DIRECTORY(shown="DIR")
    data: str = option(
        MISSING,
        "A folder of images (or of one folder for each class), zoo:digits, zoo:faces, zoo:photographs, a .npz or "
        ".safetensors file, or file.py:function that returns batches; of a folder of transformers text: a file, a "
        "folder of them, JSON lines, or a table.",
        None,
        "DATA",
    )
    output: Path | None = option(None, "Where to; by default DIR itself.", None, "NEW", short="-o")
    teacher: str | None = option(
        None, "The original, which teaches; by default the one that the report records.", None, "MODEL"
    )
    weights: str | None = WEIGHTS("The teacher's weights, likewise.")
    evaluate: str | None = FILE(
        "file.py:function of the model; the weights with its highest figure are kept."
    )
    loss: str | None = FILE("file.py:function of the outputs, and the batch; else cross-entropy.")
    asked: Mapping[str, Any] = asked_options(Tuning)
    named: frozenset[str] = named_options()
    lora: int | None = option(
        None,
        "Of a folder of transformers: train adapters of this rank alone, by PEFT.",
        None,
        "RANK",
        within=COUNTS,
    )
    keep_adapters: bool = option(False, "Write the adapters alone.")
    export_dtype: str | None = EXPORT_DTYPE()
    batch: int = option(32, "Examples of a step over all processes; of text 8.", None, "N", within=COUNTS)
    checkpoint: Path | None = FILE("From which a stopped run goes on; by default beside the output.")
    augment: bool = option(False, "Crop and mirror the images of a folder at random.")
    mean: str | None = MEAN()
    std: str | None = STD()
    workers: int = option(0, "Processes that read images.", None, "N", within=WORKERS)
    no_latency: bool = NO_LATENCY()
    force: bool = FORCE()
    json: bool = JSON()
    quiet: bool = QUIET()
    timings: bool = TIMINGS()

    @property
    def place(self) -> Path:
        """Where the result goes."""
        return self.directory if self.output is None else self.output

    @property
    def state(self) -> Path:
        """The checkpoint; beside the result, which is only there when all is done."""
        place = self.place.resolve()
        return self.checkpoint or place.with_name(f"{place.name}.checkpoint.safetensors")


@dataclass(frozen=True)
class SensitivityRequest:
    """Measures how much the output suffers when single groups are pruned."""

    EXAMPLES = (
        "graphprune sensitivity zoo:digits_resnet -o sensitivity.jsonl",
        "graphprune sensitivity resnet50 --calibration images.npy --distance kl --ratios 0.25,0.5",
        "graphprune sensitivity net.py:make --evaluate net.py:accuracy --json > curves.json",
        "torchrun --nproc-per-node 4 -m graphprune.cli sensitivity resnet50 --calibration images.npy",
    )
    CONFIGURABLE = True

    model: str = MODEL()
    output: Path | None = FILE(
        "Where points are kept as they are measured; a run that was ended goes on from it.", short="-o"
    )
    ratios: str = option("0.1,0.3,0.5,0.7,0.9", "Shares of each group's units to remove.", None, "F,...")
    distance: str = option(
        "l2", "Of outputs: l2 (relative), or kl (of the softmax over the last dimension).", None, "NAME"
    )
    calibration: str | None = option(
        None, "Inputs to compare on, as for shrink; else the example inputs.", None, "DATA"
    )
    mean: str | None = MEAN()
    std: str | None = STD()
    evaluate: str | None = FILE(
        "file.py:function of the model that gives a number, higher is better, instead of a distance."
    )
    importance: str = option(
        "l2", "Which units of a group go first, as for shrink.", None, "NAME", complete=complete_importance
    )
    loss: str | None = FILE("For importance, as for shrink.")
    weights: str | None = WEIGHTS("As for shrink.")
    input_shape: Sequence[str] = SHAPES()
    input: Sequence[str] = INPUT()
    feed: Path | None = FEED()
    dynamic: Sequence[str] = DYNAMIC()
    seed: int = option(0, "Of random weights and importance.", None, "N", within=SEEDS)
    json: bool = JSON()
    quiet: bool = QUIET()
    timings: bool = TIMINGS()

    @property
    def shares(self) -> tuple[float, ...]:
        """``--ratios`` as numbers.

        Raises:
            InputError: they are none.
        """
        return tuple(sorted({share("--ratios", part) for part in self.ratios.split(",")}))


@dataclass(frozen=True)
class VerifyRequest:
    """Checks a result directory again; exits with 4 when a check fails."""

    EXAMPLES = (
        "graphprune verify slim",
        "graphprune verify slim --model net.py:make --weights net.pt",
    )

    directory: Path = DIRECTORY(shown="DIR")
    model: str | None = option(
        None, "The original; by default the one that the report records.", None, "MODEL"
    )
    weights: str | None = WEIGHTS("The original's weights, likewise.")
    json: bool = JSON()
    quiet: bool = QUIET()
    timings: bool = TIMINGS()


@dataclass(frozen=True)
class ReportRequest:
    """Writes report.html of a result directory anew."""

    EXAMPLES = ("graphprune report slim", "graphprune report slim --sensitivity sensitivity.jsonl")

    directory: Path = DIRECTORY(shown="DIR")
    sensitivity: Path | None = FILE("What `graphprune sensitivity` wrote, or printed as JSON.")
    json: bool = JSON()
    quiet: bool = QUIET()


@dataclass(frozen=True)
class DiffRequest:
    """Compares two results: sizes, cost, latency, options, kept units and checks."""

    EXAMPLES = ("graphprune diff slim slimmer", "graphprune diff slim slimmer --json")

    directory_a: Path = DIRECTORY(shown="DIR_A")
    directory_b: Path = DIRECTORY(shown="DIR_B")
    json: bool = JSON()


@dataclass(frozen=True)
class ZooRequest:
    """Lists the models that come with graphprune."""

    EXAMPLES = ("graphprune zoo", "graphprune zoo --evaluate mtcnn_rnet")

    evaluate: str | None = option(None, "Run this model's evaluation instead.", None, "NAME")
    json: bool = JSON()
