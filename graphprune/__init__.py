"""graphprune: a structural pruning compiler for PyTorch and ONNX.

import graphprune as gp
result = gp.shrink(model, example_inputs, macs=0.5)
result.save("slim")
"""

from graphprune.axes.dependency import Cost, DependencyGraph
from graphprune.errors import (
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
from graphprune.pipeline import shrink, trace
from graphprune.planning import Plan
from graphprune.result import Result, load
from graphprune.verifying import Check, Verdict

__all__ = [
    "BudgetError",
    "CaptureError",
    "Check",
    "Cost",
    "DependencyGraph",
    "ExportError",
    "GraphpruneError",
    "InputError",
    "Plan",
    "PlanError",
    "Result",
    "RuleError",
    "Verdict",
    "VerificationError",
    "WeightsError",
    "load",
    "shrink",
    "trace",
]
