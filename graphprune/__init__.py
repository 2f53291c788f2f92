"""graphprune: a structural pruning compiler for PyTorch and ONNX.

import graphprune as gp
result = gp.shrink(model, example_inputs, macs=0.5)
result.save("slim")
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from graphprune.asking.deployment import Deployment
    from graphprune.asking.tuning import Tuning
    from graphprune.axes.dependency import Cost, DependencyGraph
    from graphprune.axes.registration import rule
    from graphprune.calibration import Fidelity
    from graphprune.face.export import export
    from graphprune.face.kit import write_kit
    from graphprune.face.pretrained import (
        inspect_pretrained,
        plan_pretrained,
        shrink_pretrained,
        tune_pretrained,
        verify_pretrained,
    )
    from graphprune.face.sensitivity import sensitivity
    from graphprune.face.shrink import plan, shrink
    from graphprune.face.shrink_and_tune import Loop, shrink_and_tune
    from graphprune.face.sweep import sweep
    from graphprune.face.trace import trace
    from graphprune.face.tune import tune
    from graphprune.ground.errors import (
        BudgetError,
        CaptureError,
        ExportError,
        GraphpruneError,
        InputError,
        PlanError,
        RuleError,
        VerificationError,
        WeightsError,
    )
    from graphprune.laws import RuleReport, check_rule
    from graphprune.planning import Plan
    from graphprune.pretrained.result import Pretrained
    from graphprune.probing import Sensitivity
    from graphprune.profiling import Profile, profile
    from graphprune.repair import Repair, RepairReport
    from graphprune.results.loading import load
    from graphprune.results.picking import pick
    from graphprune.results.proposal import Proposal
    from graphprune.results.result import Result
    from graphprune.results.sweep import Sweep
    from graphprune.scoring import Criterion
    from graphprune.tuning import GroupLasso, group_lasso
    from graphprune.verifying import Check, Verdict

# where each public name lives; imported at its first use, so that the command line's help needs no torch
_HOMES = {
    "asking.deployment": ("Deployment",),
    "asking.tuning": ("Tuning",),
    "axes.dependency": ("Cost", "DependencyGraph"),
    "axes.registration": ("rule",),
    "calibration": ("Fidelity",),
    "face.export": ("export",),
    "face.kit": ("write_kit",),
    "face.pretrained": (
        "inspect_pretrained",
        "plan_pretrained",
        "shrink_pretrained",
        "tune_pretrained",
        "verify_pretrained",
    ),
    "face.sensitivity": ("sensitivity",),
    "face.shrink": ("plan", "shrink"),
    "face.shrink_and_tune": ("Loop", "shrink_and_tune"),
    "face.sweep": ("sweep",),
    "face.trace": ("trace",),
    "face.tune": ("tune",),
    "ground.errors": (
        "BudgetError",
        "CaptureError",
        "ExportError",
        "GraphpruneError",
        "InputError",
        "PlanError",
        "RuleError",
        "VerificationError",
        "WeightsError",
    ),
    "laws": ("RuleReport", "check_rule"),
    "planning": ("Plan",),
    "pretrained.result": ("Pretrained",),
    "probing": ("Sensitivity",),
    "profiling": ("Profile", "profile"),
    "repair": ("Repair", "RepairReport"),
    "results.loading": ("load",),
    "results.proposal": ("Proposal",),
    "results.picking": ("pick",),
    "results.result": ("Result",),
    "results.sweep": ("Sweep",),
    "scoring": ("Criterion",),
    "tuning": ("GroupLasso", "group_lasso"),
    "verifying": ("Check", "Verdict"),
}

__all__ = [
    "BudgetError",
    "CaptureError",
    "Check",
    "Cost",
    "Criterion",
    "DependencyGraph",
    "Deployment",
    "ExportError",
    "Fidelity",
    "GraphpruneError",
    "GroupLasso",
    "InputError",
    "Loop",
    "Plan",
    "PlanError",
    "Pretrained",
    "Profile",
    "Proposal",
    "Repair",
    "RepairReport",
    "Result",
    "RuleError",
    "RuleReport",
    "Sensitivity",
    "Sweep",
    "Tuning",
    "Verdict",
    "VerificationError",
    "WeightsError",
    "__version__",
    "check_rule",
    "export",
    "group_lasso",
    "inspect_pretrained",
    "load",
    "pick",
    "plan",
    "plan_pretrained",
    "profile",
    "rule",
    "sensitivity",
    "shrink",
    "shrink_and_tune",
    "shrink_pretrained",
    "sweep",
    "trace",
    "tune",
    "tune_pretrained",
    "verify_pretrained",
    "write_kit",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":  # said once, in pyproject.toml
        return version("graphprune")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"graphprune.{home}"), name)
    raise AttributeError(f"module 'graphprune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
