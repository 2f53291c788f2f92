"""``shrink_pretrained``: a folder of Hugging Face in, a slim one of the same class out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graphprune.asking.options import AUTO, WEIGHTS
from graphprune.asking.request import Request
from graphprune.asking.toml import spelled
from graphprune.asking.tuning import Tuning
from graphprune.calibration.text import next_token_loss
from graphprune.face.tune import tune
from graphprune.face.verb import asked
from graphprune.ground.clock import Clock, Progress
from graphprune.ground.documents import named as read_named
from graphprune.ground.errors import InputError
from graphprune.ground.options import COUNTS, check_number
from graphprune.ground.processes import from_first
from graphprune.pretrained.adapters import peft_library
from graphprune.pretrained.again import opened_again, recheck
from graphprune.pretrained.data import IMPORTANCE, by_weights, judge_of, training_data, with_text
from graphprune.pretrained.folder import open_folder
from graphprune.pretrained.opened import look_at
from graphprune.pretrained.result import Pretrained, Writing, ensure_place, proved, written
from graphprune.pretrained.saying import changed, said
from graphprune.pretrained.slimming import slimming
from graphprune.pretrained.training import trainee
from graphprune.report.document import read_report
from graphprune.scoring import Criterion
from graphprune.tuning import Watch
from graphprune.verifying import Verdict

__all__ = [
    "Pretrained",
    "inspect_pretrained",
    "plan_pretrained",
    "shrink_pretrained",
    "tune_pretrained",
    "verify_pretrained",
]

# how a language model is trained by default, and in batches of how many rows of text
ROWS = 8
TEXT: Mapping[str, Any] = {"epochs": 1, "lr": 1e-4, "match": "tokens", "temperature": 1.0}
# options of `shrink` that a folder has no place for, and why
_NOT_HERE = {
    "graft": "the class comes back in any case",
    "lossless": "dead units are seldom as many in every layer as a configuration asks for",
    "latency": "it is measured on an ONNX file",
    "times": "it is for a latency",
    "onnx_bytes": "it is measured on an ONNX file",
    "not_slower": "it is measured on an ONNX file",
    "rounds": "weights stay in their files",
    "between": "weights stay in their files",
    "export_dtype": "weights keep their dtype",
    "outputs": "the class says what it returns",
    "dynamic": "the class says what it takes",
    "plan": "a folder's plan is in its own plan.json, for verify and tune",
    "simplify": "the class keeps its own code",
    "cut_tables": "the class keeps its own tables",
    "keep_denormals": "weights are written as they are",
    "profile": "it is measured on an ONNX file",
    "threads": "it is for times in onnxruntime",
    "batch": "it is for times in onnxruntime",
}


def shrink_pretrained(
    folder: str | Path,
    out: str | Path,
    example_inputs: Mapping[str, Tensor] | None = None,
    trust_remote_code: bool = False,
    max_memory: float | str | None = None,
    evaluate: str | None = None,
    onnx: bool = False,
    force: bool = False,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Pretrained:
    """Writes a slim version of a pretrained model that stock transformers loads as the same class.

    Only numbers in stock fields of config.json change. Which field says which width is found by building the class with
    other numbers, and proved on a small model of the class. Groups whose width no field says stay whole. Layers that
    one field rules keep equally many units, each its own.

    Weights stay in their files: each tensor is read when it is needed, and the slim ones are written shard by shard.
    Three proofs are made: all checks of `shrink` on a small model of the class; every written tensor equals its planned
    slice, or what the repair made of it; and on the real weights every operator of the slim model equals the masked
    original.

    Args:
        folder: what ``save_pretrained`` wrote: config.json, safetensors, and whatever else stands there.
        out: the folder to be written; it appears when all is done.
        example_inputs: arguments of ``forward``; made from the configuration where there are none.
        trust_remote_code: run code in the folder, where its class is not in transformers.
        max_memory: bytes that may be used to have the model write text of its own, such as "4GB"; by default half of
            what the machine has. Three more things hold the whole model: files that only the library's loader can read,
            such as Mixtral's; ``onnx``; and the capture of a model whose values decide what it computes.
        evaluate: "perplexity:FILE" judges a language model on another text than the one it is calibrated on.
        onnx: write model.onnx as well, checked in onnxruntime; of a class that writes text also model_with_past.onnx,
            with past keys and values in, present ones out. For this the slim model is held in memory.
        force: an earlier result in ``out`` may be lost.
        settings: as for `Result.save`: what shrink.toml says; by default the options that are given here.
        options: budgets and choices as in `shrink`, such as ``params=0.75``. ``calibration`` may also be the path of a
            text file, or of a folder of them. Without an importance, a language model is judged by what its units add
            to the text, its own where none is given, and repaired on it.

    Raises:
        InputError: the folder cannot be read, or an option is wrong here.
        WeightsError: its weights are missing, damaged, pickles, or not those of its class.
        CaptureError: the class cannot be captured.
        BudgetError: the budget cannot be reached with widths that the configuration can say; the message names the
            smallest share.
        VerificationError: the slim model is not what was asked for; nothing was written.
    """
    request, named, clock = _asked(options)
    opened = open_folder(folder, trust_remote_code)
    ensure_place(Path(out), force, opened)
    model = look_at(opened, clock, example_inputs, request.seed)
    text, request = with_text(model, request, named, max_memory, evaluate, clock)
    slim = slimming(model, request, clock, by_weights(request, named))
    made = proved(model, slim, text, request, clock)
    return written(
        model, slim, made, Path(out), clock, Writing(force, onnx, settings or _said(folder, options))
    )


def plan_pretrained(
    folder: str | Path,
    example_inputs: Mapping[str, Tensor] | None = None,
    trust_remote_code: bool = False,
    max_memory: float | str | None = None,
    evaluate: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """What `shrink_pretrained` would do: cost before and after, and the fields that would change. Nothing is written.

    Raises:
        GraphpruneError: as there.
    """
    request, named, clock = _asked(options)
    model = look_at(open_folder(folder, trust_remote_code), clock, example_inputs, request.seed)
    _, request = with_text(model, request, named, max_memory, evaluate, clock)
    slim = slimming(model, request, clock, by_weights(request, named))
    before, after = slim.prepared.cost({}), slim.prepared.cost(slim.sizes)
    return {
        "before": before,
        "after": after,
        "smallest": slim.prepared.smallest,
        "pretrained": {"fields": changed(model, slim.blueprint), "held": dict(model.held)},
    }


def inspect_pretrained(
    folder: str | Path, trust_remote_code: bool = False, progress: Progress = lambda stage: None
) -> dict[str, Any]:
    """Which widths the configuration of a folder can say, by which fields, and why it cannot say the others.

    Raises:
        GraphpruneError: as `shrink_pretrained`.
    """
    return said(look_at(open_folder(folder, trust_remote_code), Clock(progress)))


def verify_pretrained(
    folder: str | Path, original: str | Path | None = None, progress: Progress = lambda stage: None
) -> Verdict:
    """Checks a slim folder again, against the folder that it was made of.

    Args:
        folder: what `shrink_pretrained` wrote.
        original: the folder that it was made of; by default the one that its report names.

    Raises:
        InputError: one of them cannot be read, or ``original`` is another model.
    """
    place = Path(folder)
    report = read_named(place, lambda: read_report(place / "report.json"))
    return recheck(*opened_again(place, report, original), report, Clock(progress))


def tune_pretrained(
    folder: str | Path,
    data: Any,
    out: str | Path | None = None,
    settings: Tuning | None = None,
    original: str | Path | None = None,
    evaluate: str | None = None,
    checkpoint: str | Path | None = None,
    force: bool = False,
    batch: int = ROWS,
    lora: int | None = None,
    keep_adapters: bool = False,
    progress: Progress = lambda stage: None,
    watch: Watch | None = None,
) -> Pretrained:
    """Trains a slim language model on text, with the original as teacher, and writes it as the same class.

    The loss is the cross entropy of next tokens, and the divergence of their probabilities from the original's. Both
    models are held in memory, in single precision. Runs on several processes as `graphprune.tune` does.

    Args:
        folder: what `shrink_pretrained` wrote.
        data: the path of text, all of which is read in rows of 256 tokens, or batches such as
            ``[{"input_ids": tensor}]``.
        out: where the trained folder goes; by default ``folder`` itself.
        settings: by default one epoch at a learning rate of 1e-4.
        original: the folder that ``folder`` was made of; by default the one that its report names.
        evaluate: "perplexity:FILE" keeps the weights with the lowest perplexity on that text.
        checkpoint: as for `graphprune.tune`.
        force: an earlier result in ``out`` may be lost.
        batch: rows of text of a step, over all processes.
        lora: the rank of adapters, which PEFT puts beside every linear layer but the last; they alone are trained, and
            merged into the weights that are written.
        keep_adapters: write the adapters alone, as PEFT reads them, for ``folder`` as it is.
        progress: called with the name of every stage as it begins.
        watch: as for `graphprune.tune`.

    Raises:
        InputError: a folder or the text cannot be read; PEFT is not installed; and as `graphprune.tune`.
    """
    clock, place = Clock(progress), Path(folder)
    settings = settings or Tuning(**TEXT)
    check_number("batch", batch, COUNTS)
    _check_adapters(settings, lora, keep_adapters, out is not None)
    report = read_named(place, lambda: read_report(place / "report.json"))
    slim, teacher = opened_again(place, report, original)
    ensure_place(Path(out or folder), force or out is None, slim)
    learner = trainee(slim, teacher, report, clock)
    if lora is not None:
        with clock("add adapters"):
            learner = learner.with_adapters(lora, settings.seed)
    rows = training_data(slim, data, batch) if isinstance(data, str | Path) else data
    judge = None
    if evaluate is not None:
        judge, settings = judge_of(slim, evaluate), replace(settings, lower_is_better=True)
    with clock("tune"):
        tuned = tune(
            learner.result,
            rows,
            settings,
            loss=next_token_loss,
            evaluate=judge,
            checkpoint=checkpoint,
            watch=watch,
        )
    return from_first(
        lambda: learner.written(tuned, Path(out or folder), clock, force or out is None, keep_adapters)
    )


def _check_adapters(settings: Tuning, lora: int | None, keep: bool, elsewhere: bool) -> None:
    """Refuses what adapters cannot do, before the long work.

    Raises:
        InputError: the rank is out of range, or an option has no effect.
    """
    if lora is None:
        if keep:
            raise InputError("there are no adapters to keep", "give lora, the rank of adapters")
        return
    check_number("lora", lora, COUNTS)
    if settings.features:
        raise InputError(
            "features compare layers of the graph, and adapters are trained in the class", "leave one out"
        )
    if keep and not elsewhere:
        raise InputError("adapters are for the folder as it is", "name another place for them")
    peft_library()


def _said(folder: str | Path, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What was asked for, as a file of settings says it; batches and functions cannot be said."""
    plain = {name: value for name, value in options.items() if _is_plain(value)}
    return {"shrink": {"model": f"hf:{folder}", **spelled(plain)}}


def _looks(importance: Any) -> bool:
    """Whether an importance is known to look at data; what one of the user's own looks at is not."""
    found = Criterion.parse(importance) if isinstance(importance, str) else importance
    return isinstance(found, Criterion) and found.measure.collect is not None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, str | int | float)


def _asked(options: Mapping[str, Any]) -> tuple[Request, set[str], Clock]:
    """The request, the options that were named, and its clock."""
    for name, why in _NOT_HERE.items():
        if name in options:
            raise InputError(f"{name} is given for a folder, and {why}", "leave it out")
    if options.get("fast"):
        asked(nn.Module(), dict(options))  # refuses what does not go with it
        others = {name: value for name, value in options.items() if name != "fast"}
        options = {**others, "importance": WEIGHTS}
    given = options.get("importance", AUTO)
    unsaid = {"importance": IMPORTANCE} if isinstance(given, str) and given == AUTO else {}
    looks = _looks(unsaid.get("importance", given))
    data: dict[str, Any] = {"calibration": []} if looks else {}  # which a language model can write itself
    request = asked(nn.Module(), {**data, **options, **unsaid})  # whose layers have names alone
    return request, set(options) - set(unsaid), Clock(request.progress)
