"""How a model is fine-tuned: every choice of a run, in one checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from graphprune.ground.errors import InputError

__all__ = ["Tuning"]

CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "optimizer": ("adamw", "sgd"),
    "precision": (None, "no", "bf16", "fp16"),
    "match": ("auto", "kl", "mse", "cosine"),
}
INFINITY = float("inf")
NOT_NEGATIVE = ("weight_decay", "clip", "task", "distillation", "features", "evaluate_every", "patience")
# (smallest, largest); what may be zero is switched off by it
RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("epochs", "steps", "accumulate", "save_every"), (1, INFINITY)),
    **dict.fromkeys(NOT_NEGATIVE, (0, INFINITY)),
    **dict.fromkeys(("momentum", "warmup", "ema"), (0, 1)),
    "lr": (1e-12, INFINITY),
    "temperature": (1e-6, INFINITY),
    "seed": (0, 2**31),
}


@dataclass(frozen=True)
class Tuning:
    """Settings of `graphprune.tune`.

    Args:
        epochs: walks over the data.
        steps: optimizer steps instead; the data is walked as often as that takes.
        optimizer: "adamw" (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019) or "sgd", with
            Nesterov momentum.
        lr: the largest learning rate; it rises linearly over the first ``warmup`` of the steps (a share, 0 to 1) and
            falls along half a cosine to zero (Loshchilov and Hutter, "SGDR", 2017).
        weight_decay: of weights with two dimensions or more; biases and norms have none.
        momentum: of SGD.
        accumulate: batches whose gradients make one step.
        clip: largest norm of the gradients of a step; 0 leaves them.
        precision: "no", "bf16" or "fp16" (mixed, with a loss scaler); None takes what ``accelerate launch`` says.
        ema: decay of the running average of the weights, such as 0.999, which is then what is evaluated and returned;
            0 takes the last weights.
        task: weight of the loss on labels, where there are any.
        distillation: weight of the distance between the outputs and the original's (Hinton et al., "Distilling the
            Knowledge in a Neural Network", 2015).
        features: weight of the distance between what layers give and what the original's give on the units that were
            kept, relative to the original's (Romero et al., "FitNets", 2015, without their regressor: the kept units
            are the same).
        feature_layers: patterns of the names of those layers.
        match: the distance of outputs: "kl" (of the classes' probabilities, times temperature squared), "mse"
            (relative to the original's square), "cosine", or "auto": "kl" where labels are classes, "mse" elsewhere.
        temperature: of "kl".
        freeze_norms: batch norms keep their running statistics, as in eval mode; their weights are still trained.
        evaluate_every: steps between evaluations; 0 evaluates after every epoch.
        patience: evaluations without a better figure after which training stops; 0 never stops.
        lower_is_better: of the evaluation's figure.
        save_every: steps between checkpoints.
        seed: of the order of the data, of augmentation and of dropout.
    """

    epochs: int = 10
    steps: int | None = None
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    warmup: float = 0.05
    accumulate: int = 1
    clip: float = 1.0
    precision: str | None = None
    ema: float = 0.0
    task: float = 1.0
    distillation: float = 1.0
    features: float = 0.0
    feature_layers: tuple[str, ...] = ("*",)
    match: str = "auto"
    temperature: float = 2.0
    freeze_norms: bool = False
    evaluate_every: int = 0
    patience: int = 0
    lower_is_better: bool = False
    save_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(repr(choice) for choice in choices if choice is not None)
                raise InputError(f"{name}={getattr(self, name)!r} is not a choice", f"use one of {known}")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise InputError(
                    f"{name}={value:g} is out of range", f"it lies between {least:g} and {most:g}"
                )
        if not self.task and not self.distillation and not self.features:
            raise InputError(
                "task, distillation and features are all 0", "let at least one of them train the model"
            )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "feature_layers": list(self.feature_layers)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tuning:
        """Reads what `to_dict` gave."""
        return cls(**{**values, "feature_layers": tuple(values["feature_layers"])})

    @property
    def comparable(self) -> dict[str, Any]:
        """All that decides what a step does; the rest may change while a run is stopped."""
        return {key: value for key, value in self.to_dict().items() if key not in ("save_every", "patience")}
