"""Slim folders in training, with the original as teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.inputs import registered_tensors
from graphprune.capture.lazy import Lazy
from graphprune.cutting.cut import cut
from graphprune.ground.clock import Clock
from graphprune.pretrained.adapters import ADAPTERS, adapted, as_kept, keep, merged
from graphprune.pretrained.again import plan_in
from graphprune.pretrained.folder import Folder
from graphprune.pretrained.loading import find_weights
from graphprune.pretrained.opened import Model, look_at
from graphprune.pretrained.result import Pretrained
from graphprune.pretrained.saying import changed
from graphprune.pretrained.writing import CARD, as_written, folder_files, with_values
from graphprune.results.result import Result
from graphprune.verifying import Check, Verdict
from graphprune.verifying.tensors import in_dtype

__all__ = ["Trainee", "trainee"]


@dataclass(frozen=True)
class Trainee:
    """A slim folder and the one that it was made of, both in single precision and in memory.

    Args:
        slim: the folder that is trained.
        model: the original.
        result: as `graphprune.tune` takes it: the graph teaches, the model learns.
        report: of the cut.
        plain: the learner without adapters; None where there are none.
    """

    slim: Folder
    model: Model
    result: Result
    report: Mapping[str, Any]
    plain: fx.GraphModule | None = None

    @cached_property
    def first(self) -> dict[str, str]:
        """Name in a state dict → the name under which the program keeps the tensor."""
        return {name: item.name for item in self.result.slim.stored.values() for name in item.names}

    def with_adapters(self, rank: int, seed: int) -> Trainee:
        """This one with a student in which adapters alone are trained.

        Raises:
            InputError: PEFT is not installed, or finds no layer that it could adapt.
        """
        program = self.model.graph.program
        student = adapted(self.slim, rank, program.example[1], program.wanted, seed)
        return replace(self, result=replace(self.result, model=student), plain=self.result.model)

    def written(
        self, tuned: Result, out: Path, clock: Clock, force: bool, keep_adapters: bool = False
    ) -> Pretrained:
        """Writes the trained folder: other numbers in the same tensors, everything else as it was.

        Args:
            keep_adapters: the adapters alone are written, as PEFT reads them.

        Raises:
            InputError: the folder cannot be written.
            VerificationError: what was written is not what was trained.
        """
        if keep_adapters:
            files: dict[str, Any] = {ADAPTERS: partial(keep, tuned.model)}
            return self._saved(
                tuned, out, clock, force, files, lambda draft: as_kept(tuned.model, draft, self.slim)
            )
        if self.plain is not None:
            tuned = replace(tuned, model=self._merged(tuned.model))
        raw = find_weights(self.slim).raw
        own = registered_tensors(tuned.model)

        def trained(name: str) -> Tensor:
            known = self.first.get(name, name)
            return own[known].detach().cpu().to(raw[name].dtype) if known in own else raw[name]

        tensors, blueprint = Lazy(raw, trained), self.slim.blueprint
        card = (self.slim.path / CARD).read_text(encoding="utf-8")
        files = folder_files(self.model, tensors, blueprint, card.replace(UNTRAINED, TRAINED))
        return self._saved(
            tuned, out, clock, force, files, lambda draft: as_written(self.model, tensors, draft, blueprint)
        )

    def _merged(self, trained: fx.GraphModule) -> fx.GraphModule:
        """The slim graph, which takes the weights of the class and its adapters."""
        assert self.plain is not None
        model, values = self.plain, merged(trained)
        named = {self.first.get(name, name): value for name, value in values.items()}
        with torch.no_grad():
            for name, tensor in registered_tensors(model).items():
                if name in named:
                    tensor.copy_(named[name])
        return model

    def _saved(
        self,
        tuned: Result,
        out: Path,
        clock: Clock,
        force: bool,
        files: Mapping[str, Callable[[Path], None]],
        proof: Callable[[Path], Check],
    ) -> Pretrained:
        verdict = Verdict(tuple(Check(**check) for check in self.report["verdict"]["checks"]))
        kept = {name: self.report[name] for name in ("pretrained", "source") if name in self.report}
        report = replace(tuned, verdict=verdict).save(
            out,
            latency=False,
            progress=clock.progress,
            onnx=False,
            extra=kept,
            files=files,
            proof=lambda draft: (proof(draft),),
            force=force,
        )
        fields = changed(self.model, self.slim.blueprint)
        return Pretrained(out, tuned.plan, verdict, fields, self.model.held, report)


UNTRAINED, TRAINED = "Nothing was trained after the cut.", "It was trained after the cut."


def trainee(slim: Folder, original: Folder, report: Mapping[str, Any], clock: Clock) -> Trainee:
    """Both models as they are needed for training.

    Raises:
        PlanError: the plan in ``slim`` is not for ``original``.
        WeightsError: weights are missing.
    """
    model = look_at(original, clock)
    plan = plan_in(slim).check(model.wide)
    with clock("load both models"):
        graph = replace(model.wide, program=with_values(model.wide.program, model.wide.program.tensors))
        made = cut(model.wide, plan)
        written = find_weights(slim).tensors
        learner = with_values(made.slim, Lazy(written, lambda name: in_dtype(written[name], torch.float32)))
        made = replace(made, graph=graph, slim=learner)
        return Trainee(slim, model, Result.of(made, clock.seconds), report)
