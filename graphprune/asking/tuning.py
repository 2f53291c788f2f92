"""How a model is fine-tuned: every choice of a run, in one checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from graphprune.ground.errors import InputError
from graphprune.ground.options import COUNTS, SEEDS, Range, check_numbers, documented, option, share

__all__ = ["Tuning"]

CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "optimizer": ("adamw", "sgd"),
    "precision": (None, "no", "bf16", "fp16"),
    "match": ("auto", "kl", "tokens", "mse", "cosine"),
}
TEXT: Any = str | None
NUMBER: Any = int | None
STEPS: Range = (0, COUNTS[1])
WEIGHT: Range = (0.0, 1e9)
SHARE: Range = (0.0, 1.0)


@documented
@dataclass(frozen=True)
class Tuning:
    """Settings of `graphprune.tune`. Every one is declared here, for Python and for the command line."""

    epochs: int = option(10, "Walks over the data.", None, "N", int, within=COUNTS)
    steps: int | None = option(None, "Optimizer steps instead of epochs.", None, "N", NUMBER, within=COUNTS)
    optimizer: str = option(
        "adamw",
        'adamw (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019), or sgd with Nesterov momentum.',
        None,
        "NAME",
        str,
    )
    lr: float = option(
        1e-3,
        "The largest learning rate. It rises linearly over the warm-up, and falls along half a cosine to zero "
        '(Loshchilov and Hutter, "SGDR", 2017).',
        None,
        "F",
        float,
        within=(1e-12, 1e9),
    )
    weight_decay: float = option(
        0.01,
        "Weight decay of weights with two dimensions or more; biases and norms have none.",
        None,
        "F",
        float,
        within=WEIGHT,
    )
    momentum: float = option(0.9, "Momentum of sgd.", within=SHARE)
    warmup: float | str = option(
        0.05,
        "Share of the steps in which the learning rate rises.",
        None,
        "F",
        str,
        number=True,
        within=SHARE,
    )
    accumulate: int = option(1, "Batches whose gradients make one step.", None, "N", int, within=COUNTS)
    clip: float = option(
        1.0, "Largest norm of the gradients of a step; 0 leaves them as they are.", within=WEIGHT
    )
    precision: str | None = option(
        None,
        "no, bf16 or fp16 (mixed, with a loss scaler); by default what the launcher says.",
        None,
        "NAME",
        TEXT,
    )
    ema: float = option(
        0.0,
        "Decay of a running average of the weights, such as 0.999, which is then what is evaluated and returned; 0 "
        "takes the last weights.",
        None,
        "F",
        float,
        within=SHARE,
    )
    task: float = option(
        1.0, "Weight of the loss on labels, where there are any.", None, "F", float, within=WEIGHT
    )
    distillation: float = option(
        1.0,
        "Weight of the distance between the outputs and the original's (Hinton et al., \"Distilling the Knowledge in a "
        'Neural Network", 2015).',
        None,
        "F",
        float,
        within=WEIGHT,
    )
    features: float = option(
        0.0,
        "Weight of the distance between what layers give and what the original's give, on the units that were kept "
        '(Romero et al., "FitNets", 2015, without their regressor: the kept units are the same).',
        None,
        "F",
        float,
        within=WEIGHT,
    )
    feature_layers: tuple[str, ...] = option(("*",), "Patterns of the names of those layers.")
    match: str = option(
        "auto",
        "The distance of outputs: kl (of the classes' probabilities, times temperature squared), tokens (the same of "
        "next tokens, along the last dimension), mse (relative to the original's square), cosine, or auto: kl where "
        "labels are classes, mse elsewhere.",
        None,
        "NAME",
        str,
    )
    temperature: float = option(2.0, "Temperature of kl.", None, "F", float, within=(1e-6, 1e9))
    freeze_norms: bool = option(
        False,
        "Batch norms keep their running statistics, as in eval mode; their weights are still trained.",
        typed=bool,
    )
    evaluate_every: int = option(
        0, "Steps between evaluations; 0 evaluates after every epoch.", None, "N", int, within=STEPS
    )
    patience: int = option(
        0,
        "Evaluations without a better figure after which training stops; 0 never stops.",
        None,
        "N",
        int,
        within=STEPS,
    )
    lower_is_better: bool = option(
        False, "The smallest figure of the evaluation is the best one.", typed=bool
    )
    save_every: int = option(100, "Steps between checkpoints.", within=COUNTS)
    seed: int = option(
        0, "Seed of the order of the data, of augmentation and of dropout.", None, "N", int, within=SEEDS
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "warmup", share("warmup", self.warmup))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(repr(choice) for choice in choices if choice is not None)
                raise InputError(f"{name}={getattr(self, name)!r} is not a choice", f"use one of {known}")
        check_numbers(self)
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
