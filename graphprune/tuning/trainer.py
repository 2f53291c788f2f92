"""One run of fine-tuning: steps, evaluations, checkpoints, and going on after a kill."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Loss
from graphprune.ground.digest import digest
from graphprune.ground.errors import InputError
from graphprune.planning import Plan
from graphprune.tuning.batches import Batch, Data
from graphprune.tuning.checkpoint import Checkpoint, all_tensors, fill
from graphprune.tuning.learner import Learner
from graphprune.tuning.settings import Tuning
from graphprune.tuning.setup import kept_random_state, make_accelerator

__all__ = ["Evaluate", "Moment", "Tuned", "Watch", "fine_tune"]

Evaluate = Callable[[nn.Module], float | Mapping[str, float]]


@dataclass(frozen=True)
class Moment:
    """Where a run stands. ``metric`` is the last figure of the evaluation, ``best`` the best one."""

    step: int
    steps: int
    epoch: int
    loss: float
    metric: float | None
    best: float | None
    seconds_left: float


Watch = Callable[[Moment], None]


@dataclass(frozen=True)
class Tuned:
    """The fine-tuned model, in eval mode on the device of the one that was given, and what happened."""

    model: fx.GraphModule
    report: dict[str, Any]


def fine_tune(
    graph: DependencyGraph,
    plan: Plan,
    model: fx.GraphModule,
    loader: Any,
    settings: Tuning,
    *,
    loss: Loss | None = None,
    evaluate: Evaluate | None = None,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> Tuned:
    """See `graphprune.tune`; ``model`` is what ``plan`` makes of the original of ``graph``."""
    accelerator = make_accelerator(settings)
    with kept_random_state(accelerator.device):
        run = _Run(graph, plan, model, loader, settings, accelerator, loss, evaluate, checkpoint, watch)
        return run()


@dataclass
class _State:
    """What a checkpoint holds beside tensors."""

    epoch: int = 0
    done: int = 0  # steps of this epoch
    step: int = 0
    metric: float | None = None
    best: float | None = None
    before: float | None = None
    worse: int = 0  # evaluations since the best one
    finished: bool = False


class _Run:
    def __init__(
        self,
        graph: DependencyGraph,
        plan: Plan,
        model: fx.GraphModule,
        loader: Any,
        settings: Tuning,
        accelerator: Any,
        loss: Loss | None,
        evaluate: Evaluate | None,
        checkpoint: Path | None,
        watch: Watch | None,
    ) -> None:
        self.settings, self.accelerator, self.original = settings, accelerator, model
        self.evaluate, self.checkpoint, self.watch = evaluate, checkpoint, watch
        index, processes = accelerator.process_index, accelerator.num_processes
        self.data = Data(loader, graph.program, index, processes, settings.seed)
        self.steps = self._count()
        self.learner = Learner(graph, plan, model, settings, loss, accelerator)
        self.best: dict[str, Tensor] = {}
        self.state, self.history = _State(), list[dict[str, Any]]()
        self.losses: list[float] = []  # since the last line of the history
        models = [digest(all_tensors(model)), digest(graph.program.tensors)]
        self.described = {"model": models, **settings.comparable, "batches": self.data.length}

    def _count(self) -> int:
        length = self.data.length
        if self.settings.steps is not None:
            return self.settings.steps
        if length is None:
            raise InputError("the data does not say how many batches it has", "say how many steps to train")
        return self.settings.epochs * math.ceil(length / self.settings.accumulate)

    # -- the run ------------------------------------------------------------------------------------------
    def __call__(self) -> Tuned:
        self._resume()
        self.started, self.first = perf_counter(), self.state.step
        if self.evaluate is not None and self.state.before is None:
            self._judge()
            self.state.before = self.state.metric
        while not self.state.finished:
            self._epoch()
        return Tuned(self._result(), self._report())

    def _epoch(self) -> None:
        state = self.state
        for place, group in enumerate(self.data.epoch(state.epoch, self.settings.accumulate)):
            if place < state.done:  # a checkpoint had these; they are made again for what they draw
                continue
            self._step(group)
            if state.finished:
                return
        state.epoch, state.done = state.epoch + 1, 0
        if not self.settings.evaluate_every:
            self._close()

    def _step(self, group: list[Batch]) -> None:
        self.losses.append(self.learner.step(group, self.state.step, self.steps))
        self.state.step, self.state.done = self.state.step + 1, self.state.done + 1
        self._after_step()

    def _after_step(self) -> None:
        every, step = self.settings.evaluate_every, self.state.step
        self.state.finished = step >= self.steps
        if self.state.finished or (every and step % every == 0):
            self._close()
        elif step % self.settings.save_every == 0:
            self._save()
        self._tell()

    # -- evaluation ---------------------------------------------------------------------------------------
    def _close(self) -> None:
        """Evaluates, writes a line of the history and a checkpoint."""
        if self.evaluate is not None:
            self._judge()
        mean = sum(self.losses) / len(self.losses) if self.losses else None
        self.history.append(
            {"step": self.state.step, "epoch": self.state.epoch, "loss": mean, "metric": self.state.metric}
        )
        self.losses.clear()
        patience = self.settings.patience
        if self.state.step >= self.steps or (patience and self.state.worse >= patience):
            self.state.finished = True
        self._save()

    def _judge(self) -> None:
        state, model = self.state, self.learner.best_guess
        figure = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        if self.accelerator.is_main_process:
            figure.fill_(self._figure(model))
        from accelerate.utils import broadcast

        state.metric = float(broadcast(figure))
        if not math.isfinite(state.metric):
            raise InputError(
                f"the evaluation gives {state.metric} after step {state.step}",
                "let it return a finite number",
            )
        sign = -1 if self.settings.lower_is_better else 1
        if state.best is None or sign * state.metric > sign * state.best:
            state.best, state.worse = state.metric, 0
            self.best = {name: tensor.detach().clone() for name, tensor in all_tensors(model).items()}
        else:
            state.worse += 1

    def _figure(self, model: nn.Module) -> float:
        assert self.evaluate is not None
        try:
            with torch.no_grad():
                found = self.evaluate(model.eval())
            first = next(iter(found.values())) if isinstance(found, Mapping) else found
            return float(first)
        except (TypeError, ValueError, StopIteration) as error:
            raise InputError(
                f"the evaluation gives no number: {error}",
                "return a number, or a dict whose first one counts",
            ) from error

    def _tell(self) -> None:
        if self.watch is None or not self.accelerator.is_main_process:
            return
        state = self.state
        pace = (perf_counter() - self.started) / max(state.step - self.first, 1)
        left = 0.0 if state.finished else pace * (self.steps - state.step)
        loss = self.losses[-1] if self.losses else self.history[-1]["loss"]
        self.watch(Moment(state.step, self.steps, state.epoch, loss, state.metric, state.best, left))

    # -- checkpoints --------------------------------------------------------------------------------------
    def _save(self) -> None:
        if self.checkpoint is None or not self.accelerator.is_main_process:
            return
        tensors, record = self.learner.state()
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        progress = {"state": vars(self.state), "history": self.history, "losses": self.losses}
        Checkpoint(tensors, {"run": self.described, **record, **progress}).write(self.checkpoint)

    def _resume(self) -> None:
        """Takes up a checkpoint, if there is one, on all processes alike."""
        if self.checkpoint is None:
            return
        from accelerate.utils import broadcast

        device = self.accelerator.device
        exists = bool(broadcast(torch.tensor(float(self.checkpoint.is_file()), device=device)))
        if exists:
            self._restore(Checkpoint.read(self.checkpoint, self.described))
        self.accelerator.wait_for_everyone()  # nobody writes before all have read

    def _restore(self, saved: Checkpoint) -> None:
        parts, record = saved.parts, saved.record
        self.learner.restore(parts, record)
        self.best = {name: tensor.to(self.accelerator.device) for name, tensor in parts["best"].items()}
        self.state = _State(**record["state"])
        self.history, self.losses = record["history"], record["losses"]

    # -- the end ------------------------------------------------------------------------------------------
    def _result(self) -> fx.GraphModule:
        """The best weights that were evaluated, or else the last ones, in a copy of the model that was given."""
        from accelerate.utils import broadcast

        last = all_tensors(self.learner.best_guess)
        final = broadcast({name: tensor.detach() for name, tensor in (self.best or last).items()})
        model = copy.deepcopy(self.original).eval()
        fill(model, final)
        return model

    def _report(self) -> dict[str, Any]:
        state = self.state
        metrics = {"before": state.before, "best": state.best, "last": state.metric}
        return {
            "settings": self.settings.to_dict(),
            "processes": self.accelerator.num_processes,
            "steps": state.step,
            "of": self.steps,
            "resumed_at": self.first,
            **({"metric": metrics} if self.evaluate is not None else {}),
            "history": self.history,
            "seconds": perf_counter() - self.started,
        }
