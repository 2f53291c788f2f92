"""The options of a shrink. Every one is declared here, and nowhere else.

Python's keyword arguments, the command line's options with their help, TOML and a plan's record follow from these
fields. The command line reads them before torch is imported, so that its help is fast.
"""

# ruff: noqa: RUF009 – fields of the dataclass are made by calls
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from graphprune.asking.names import RANKINGS, SCHEDULES, complete_importance
from graphprune.asking.timing import EXPORT_DTYPES, GOAL, TEXT, Timing
from graphprune.ground.dynamic import Dynamic
from graphprune.ground.options import SEEDS, Option, among, option

if TYPE_CHECKING:
    from graphprune.calibration import Evaluate, Loss
    from graphprune.ground.clock import Progress
    from graphprune.planning import Plan
    from graphprune.planning.schedule import Schedule
    from graphprune.profiling import Profile
    from graphprune.repair import Repair
    from graphprune.scoring import Importance

__all__ = ["AUTO", "EXPORT_DTYPES", "GOAL", "LIMITS", "ORDER", "SYNTHETIC", "WEIGHTS", "Option", "Options"]

AUTO: Literal["auto"] = "auto"
SYNTHETIC = "synthetic"  # calibration data that are made
WEIGHTS = "l2"  # the importance that needs nothing but weights

# panels of the help; options of ORDER and LIMITS have no effect where a plan is replayed
ORDER = "Which units go first"
LIMITS = "What is left alone"
ROUNDS = "In rounds, with training"


def _silent(stage: str) -> None:
    """Tells nobody."""


def _share(help: str) -> Any:
    return option(None, help, GOAL, "F", TEXT, number=True)


@dataclass(frozen=True, kw_only=True)
class Options(Timing):
    """What `graphprune.shrink` and `graphprune.plan` take. Shares may be written as 0.5 or "50%"."""

    macs: float | str | None = _share(
        "Share of the multiply-accumulates to keep, such as 0.5 or 50%, or an amount such as 300M. Several of the "
        "budgets macs, params, onnx_bytes, memory and latency may be given, and all are met. Any one of them may have "
        "several values, such as 0.9,0.7,0.5: one analysis, a result for each, and their curve; in Python sweep."
    )
    params: float | str | None = _share("Share of the parameters to keep, or 5M.")
    onnx_bytes: float | str | None = _share("Share of the ONNX file's bytes to keep, or 12MB.")
    memory: float | str | None = _share("Share of one example's peak activation memory to keep, or 4MB.")
    latency: float | str | None = _share(
        "Share of the time of one run in onnxruntime to keep, measured on this machine, or 4ms."
    )
    ratio: float | str | None = _share("Share of the units to remove from every group.")
    keep: float | str | None = _share(
        "Share of the units that every group keeps: keep=0.7 is ratio=0.3. All the budgets above say what to keep too."
    )
    lossless: bool = option(
        False,
        "Remove only what is dead, so that the model computes what it computed: units that are zero or constant "
        "wherever they are read, that nobody reads, or that repeat others.",
        GOAL,
        typed=bool,
    )
    not_slower: bool = option(
        False,
        "Time the slim model, and take wider multiples (see align) where it is slower than the original.",
        GOAL,
        typed=bool,
        recorded="changed",
    )
    graft: bool = option(
        False,
        "Keep the model's own code running with slim layers, so that the same class comes back: what it reads of sizes "
        "becomes ties, and widths that it needs stay.",
        GOAL,
        typed=bool,
        recorded="changed",
        detail="Result.graft then gives the model as its own class; the verdict has the proof.",
    )
    plan: Plan | None = option(
        None, "Replay a plan (plan.json) instead of meeting a budget.", GOAL, "FILE", TEXT
    )
    importance: str | Importance = option(
        AUTO,
        "Which units matter: auto tries several ways and their rankings on half of the data, and takes the one whose "
        "outputs are nearest on the other half; or l1, l2, linf, lamp, bn_scale, fpgm, cosine or random; with "
        "calibration data also activation_mean, activation_variance, activation_norm, apoz, wanda, fluctuation, "
        "contribution (for transformers), reconstruction, refit, refit_shrunk, taylor, taylor_abs, obd or fisher. One "
        "that is named is taken at its word: no repair, unless that is asked for. NAME:AGGREGATE:NORMALISE adds how "
        "members are put together (sum, mean, max, prod, first, producers) and units made comparable between groups "
        "(none, mean, max, sum, standard, lamp).",
        ORDER,
        "NAME",
        str,
        complete=complete_importance,
        detail="In Python also a Criterion, an object of torch_pruning.importance, or any importance of one's own. Of "
        "auto, result.plan.request['tried'] has the distances of all that were tried.",
    )
    calibration: Any = option(
        None,
        "Batches for importance, repair and trials: a folder of images, a .npy, .npz or "
        ".safetensors file, zoo:NAME, or file.py:function; or synthetic, for inputs that are made for the model, which "
        "auto and a repair also take where none are given.",
        ORDER,
        "DATA",
        TEXT,
        detail="In Python a tensor, a list of batches or a DataLoader; a batch is what example_inputs may be, or a "
        "pair of that and labels. Of eight batches or more auto holds out one in eight, to judge the result.",
    )
    tokenizer: Callable[..., Any] | None = option(
        None,
        "Of a model that reads tokens: its tokenizer, as transformers has it. Text that is made is English then.",
        ORDER,
    )
    loss: Loss | None = option(
        None,
        "For an importance that takes gradients: file.py:function of the outputs, or of the outputs and the batch (the "
        "labels, where its second argument is called target or labels).",
        ORDER,
        "FILE",
        TEXT,
        detail="In Python the function or module itself, such as F.cross_entropy: loss(outputs), loss(outputs, batch) "
        "or loss(outputs, target) gives a number. Without one, the outputs times random signs, see "
        "graphprune.calibration.losses.signs_loss.",
    )
    ranking: str = option(
        "global",
        "In which order units go: global (all scores together), uniform (the same share of every group), isomorphic "
        "(among groups of the same structure) or per_cost (score over cost saved).",
        ORDER,
        "NAME",
        str,
        recorded="always",
        complete=among(*RANKINGS),
    )
    trials: int = option(
        0,
        "Tune how much each group loses by N measurements of the outputs on the calibration data.",
        ORDER,
        "N",
        int,
        recorded="changed",
        within=(0, 10**6),
    )
    evaluate: Evaluate | None = option(
        None,
        "How trials judge models: a function of the model that gives a number, higher is better.",
        ORDER,
        detail="It takes the place of the outputs' relative distance.",
    )
    align: int | str = option(
        AUTO,
        "Widths are multiples of N, 1 for any; auto for the multiples that onnxruntime likes on this machine, learned "
        "once. auto gives way where a budget could not be met within 1 % otherwise.",
        LIMITS,
        "N",
        str,
        number=True,
    )
    min_keep: int = option(1, "Units that every group keeps at least.", LIMITS, "N", int)
    protect: Any = option(
        (),
        "Layers that must not change, such as head (with all that is in it) or 'layer4.*', or names of groups; may be "
        "repeated.",
        LIMITS,
        "PATTERN",
        list[str],
        detail="In Python a pattern, a module or parameter of the model, or a list of these.",
    )
    keep_denormals: bool = option(
        False,
        "Of an ONNX file: keep denormal numbers, with which processors compute slowly. Without it they become zeros "
        "where no output changes.",
        LIMITS,
        typed=bool,
        recorded="changed",
    )
    simplify: bool = option(
        False,
        "Of an ONNX file: before anything is pruned, put constants in the place of nodes that read nothing else, and "
        "drop what nobody reads.",
        LIMITS,
        typed=bool,
        recorded="changed",
    )
    cut_tables: bool = option(
        False,
        "Of an ONNX file: cut constants that look like tables too, such as a Fourier basis, bins or positions. Without "
        "it they keep their size.",
        LIMITS,
        typed=bool,
        recorded="changed",
    )
    max_ratio: float | str = option(
        1.0, "Share of its units that any group may lose.", LIMITS, "F", str, number=True
    )
    ratios: Mapping[Any, float | str] | None = option(
        None,
        "Share of the units to remove that these layers make, whatever the budget, such as 'layer4*=0.5'; may be "
        "repeated.",
        LIMITS,
        "PATTERN=F",
        list[str],
        spelled="layer_ratio",
        detail="In Python a dict, by patterns of layers, modules of the model, or names of groups, as "
        "Sensitivity.ratios gives them.",
    )
    ties: Sequence[Any] = option(
        (),
        "Groups that keep the same share of their units, which ones each for itself: patterns of layers, or names of "
        "groups, with commas between them; may be repeated.",
        LIMITS,
        "PATTERN,...",
        list[str],
        spelled="tie",
        detail="In Python a list of lists does as well, and modules of the model. A tie may be one pattern, such as "
        "'blocks.*.fc1'.",
    )
    fast: bool = option(
        False,
        "Choose by weights alone, the global l2, and look at no data: quick, and the answers suffer.",
        ORDER,
        typed=bool,
    )
    repair: bool | Repair | None = option(
        None,
        "After the proof, refit weights, biases and batch norms to the calibration data, without training; auto does "
        "so by itself.",
        typed=bool,
        detail="False leaves it out of auto. result.repair reports it layer by layer. Steps can be left out, see "
        "Repair. With rounds, what each of them leaves is repaired before scores are taken anew; with a latency "
        "budget, the last alone.",
    )
    rounds: int = option(
        1,
        "Go there in N rounds, with scores of what is left.",
        ROUNDS,
        "N",
        int,
        recorded="changed",
        detail="The plan is one, relative to the original.",
    )
    schedule: str | Schedule = option(
        "linear",
        "How fast: linear (as many units in every round) or geometric (the same share of what is left).",
        ROUNDS,
        "NAME",
        str,
        recorded="changed",
        complete=among(*SCHEDULES),
        detail="In Python also a function from the share of the rounds to the share of what goes that has gone.",
    )
    between: Callable[[Any], Any] | None = option(
        None,
        "Called with the result of every round but the last, to train its model.",
        ROUNDS,
        recorded="changed",
        detail="It trains in place, or returns a model or result of the same shapes; the next round starts from these "
        "weights. Every round is then checked against its own start, and the whole plan against the original on random "
        "parameters.",
    )
    outputs: Sequence[str] = option(
        (),
        "An output that the slim model shall return, such as logits, 0 or 'hidden_states.*'; may be repeated. By "
        "default all.",
        None,
        "NAME",
        list[str],
        spelled="keep_output",
    )
    dynamic: Dynamic = option(
        AUTO,
        "Which sizes of the inputs may vary: auto for all that the model lets vary, none for those of the example "
        "alone, or names of some that must, such as x:2=height,x:3=width; may be repeated.",
        None,
        "INPUT:DIM=NAME",
        list[str],
        detail="In Python also False, or a dict: {'x': {2: 'height', 3: 'width'}}.",
    )
    seed: int = option(
        0,
        "Seed of random weights, random importance and the checks' random tensors.",
        None,
        "N",
        int,
        recorded="always",
        within=SEEDS,
    )
    profile: Profile | None = option(
        None, "What graphprune.profile measured of this model, to save the time."
    )
    progress: Progress = option(_silent, "Called with the name of every stage as it begins.")
