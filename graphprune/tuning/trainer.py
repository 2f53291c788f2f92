"""One run of fine-tuning: steps, evaluations, checkpoints, and going on after a kill.

Its processes, devices and precision are Hugging Face Accelerate's.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.asking.tuning import Tuning
from graphprune.ground.digest import digest
from graphprune.ground.errors import InputError
from graphprune.tuning.batches import Data
from graphprune.tuning.checkpoint import Checkpoint, all_tensors, fill, run_name
from graphprune.tuning.job import Job, Moment
from graphprune.tuning.learner import Learner

__all__ = ["fine_tune"]

# data parallelism alone: every process holds the whole model
PARALLEL = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU", "MULTI_NPU", "MULTI_MLU", "MULTI_MUSA", "MULTI_HPU")


def fine_tune(job: Job) -> tuple[fx.GraphModule, dict[str, Any]]:
    """The fine-tuned model, in eval mode on the device of the one that was given, and a report of what happened.

    See `graphprune.tune`, also for what is raised.
    """
    accelerator = _make_accelerator(job.settings)
    with _kept_random_state(accelerator.device):
        return _Run(job, accelerator)()


@dataclass
class _State:
    """How far a run has come. With it, a checkpoint says where to go on."""

    epoch: int = 0
    done: int = 0  # steps of this epoch
    step: int = 0
    metric: float | None = None
    best: float | None = None
    before: float | None = None
    worse: int = 0  # evaluations since the best one
    finished: bool = False


class _Run:
    """A job while it is done; it is called once."""

    def __init__(self, job: Job, accelerator: Any) -> None:
        self.job, self.settings, self.accelerator = job, job.settings, accelerator
        index, processes = accelerator.process_index, accelerator.num_processes
        self.data = Data(job.loader, job.graph.program, index, processes, job.settings.seed)
        self.steps = self._count()
        self.learner = Learner(job, accelerator)
        self.best: dict[str, Tensor] = {}
        self.state, self.history = _State(), list[dict[str, Any]]()
        self.losses: list[float] = []  # since the last line of the history
        models = [digest(all_tensors(job.model)), digest(job.graph.program.tensors)]
        self.described = {"model": models, **job.settings.comparable, "batches": self.data.length}

    def _count(self) -> int:
        length = self.data.length
        if self.settings.steps is not None:
            return self.settings.steps
        if length is None:
            raise InputError("the data does not say how many batches it has", "say how many steps to train")
        return self.settings.epochs * math.ceil(length / self.settings.accumulate)

    def __call__(self) -> tuple[fx.GraphModule, dict[str, Any]]:
        self._resume()
        self.started, self.first = perf_counter(), self.state.step
        if self.job.evaluate is not None and self.state.before is None:
            self._judge()
            self.state.before = self.state.metric
        while not self.state.finished:
            self._epoch()
        return self._result(), self._report()

    def _epoch(self) -> None:
        state = self.state
        for place, group in enumerate(self.data.epoch(state.epoch, self.settings.accumulate)):
            if place < state.done:  # a checkpoint had these; they are made again for what they draw
                continue
            self.losses.append(self.learner.step(group, state.step, self.steps))
            state.step, state.done = state.step + 1, state.done + 1
            self._after_step()
            if state.finished:
                return
        state.epoch, state.done = state.epoch + 1, 0
        if not self.settings.evaluate_every:
            self._close()

    def _after_step(self) -> None:
        every, step = self.settings.evaluate_every, self.state.step
        self.state.finished = step >= self.steps
        if self.state.finished or (every and step % every == 0):
            self._close()
        elif step % self.settings.save_every == 0:
            self._save()
        self._tell()

    def _close(self) -> None:
        """Evaluates, writes a line of the history and a checkpoint."""
        if self.job.evaluate is not None:
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
        assert self.job.evaluate is not None
        try:
            with torch.no_grad():
                found = self.job.evaluate(model.eval())
            return float(next(iter(found.values())) if isinstance(found, Mapping) else found)
        except (TypeError, ValueError, StopIteration) as error:
            raise InputError(
                f"the evaluation gives no number: {error}",
                "return a number, or a dict whose first one counts",
            ) from error

    def _tell(self) -> None:
        if self.job.watch is None or not self.accelerator.is_main_process:
            return
        state = self.state
        pace = (perf_counter() - self.started) / max(state.step - self.first, 1)
        left = 0.0 if state.finished else pace * (self.steps - state.step)
        loss = self.losses[-1] if self.losses else self.history[-1]["loss"]
        self.job.watch(Moment(state.step, self.steps, state.epoch, loss, state.metric, state.best, left))

    def _save(self) -> None:
        if self.job.checkpoint is None or not self.accelerator.is_main_process:
            return
        parts, record = self.learner.state()
        progress = {"state": vars(self.state), "history": self.history, "losses": self.losses}
        saved = Checkpoint({**parts, "best": self.best}, {"run": self.described, **record, **progress})
        saved.write(self.job.checkpoint)

    def _resume(self) -> None:
        """Takes up a checkpoint, if there is one, on all processes alike."""
        if self.job.checkpoint is None:
            return
        from accelerate.utils import broadcast

        device = self.accelerator.device
        exists = bool(broadcast(torch.tensor(float(self.job.checkpoint.is_file()), device=device)))
        if exists:
            saved = Checkpoint.read(self.job.checkpoint, self.described)
            self.learner.restore(saved.parts, saved.record)
            self.best = {name: tensor.to(device) for name, tensor in saved.parts["best"].items()}
            self.state = _State(**saved.record["state"])
            self.history, self.losses = saved.record["history"], saved.record["losses"]
        self.accelerator.wait_for_everyone()  # nobody writes before all have read

    def _result(self) -> fx.GraphModule:
        """The best weights that were evaluated, or else the last ones, in a copy of the model that was given."""
        from accelerate.utils import broadcast

        last = all_tensors(self.learner.best_guess)
        final = broadcast({name: tensor.detach() for name, tensor in (self.best or last).items()})
        model = copy.deepcopy(self.job.model).eval()
        fill(model, final)
        return model

    def _report(self) -> dict[str, Any]:
        state = self.state
        metrics = {"before": state.before, "best": state.best, "last": state.metric}
        return {
            "run": run_name(self.described),
            "settings": self.settings.to_dict(),
            "processes": self.accelerator.num_processes,
            "steps": state.step,
            "of": self.steps,
            "resumed_at": self.first,
            **({"metric": metrics} if self.job.evaluate is not None else {}),
            "history": self.history,
            "seconds": perf_counter() - self.started,
        }


def _make_accelerator(settings: Tuning) -> Any:
    """An Accelerator for whatever launched this process; it joins a process group that there is already.

    Raises:
        InputError: accelerate is not installed, the precision cannot be had, or the launcher asks for sharding.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs
    except ImportError as error:
        raise InputError("fine-tuning needs accelerate", "pip install 'graphprune[tune]'") from error
    try:
        accelerator = Accelerator(
            mixed_precision=settings.precision,
            # without one, accelerate forms a group of processes only where it is told to stay on the CPU
            cpu=not torch.accelerator.is_available(),
            # some outputs may count for nothing in the loss
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    except ValueError as error:
        raise InputError(
            f"precision {settings.precision!r} cannot be used here: {' '.join(str(error).split())[:160]}",
            "leave precision out, take 'bf16' on a CPU, or start a new process: it holds for the whole process",
        ) from error
    if accelerator.distributed_type.name not in PARALLEL:
        raise InputError(
            f"the launcher asks for {accelerator.distributed_type.name}",
            "take plain data parallelism: a slim model fits on one device",
        )
    return accelerator


@contextmanager
def _kept_random_state(device: torch.device) -> Iterator[None]:
    """Afterwards the random state of Python, numpy and torch is what it was."""
    import numpy

    python, legacy = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(legacy)
