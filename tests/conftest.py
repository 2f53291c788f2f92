"""No test depends on how fast this machine is: the runtime is said to like any width, unless a test says otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from tempfile import TemporaryDirectory

import pytest

from graphprune.asking.options import AUTO
from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.kinds import KINDS
from graphprune.ground.clock import Clock
from graphprune.ground.files import CACHE
from graphprune.profiling import widths
from graphprune.searching.settled import Settled, settle, weights_alone

# as modules of doctests they would be mistaken for each other
collect_ignore_glob = ["*conftest.py"]


@pytest.fixture(autouse=True, scope="session")
def _weights_alone() -> Iterator[None]:
    """Most tests are about the cut, whatever is chosen: without options it is by weights alone here, and no data are
    made. Those of the default itself are marked ``default``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("graphprune.face.shrink"), "settle", _settle_quickly)
        yield


@pytest.fixture(autouse=True)
def _as_users_have_it(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("default") is not None:
        monkeypatch.setattr(import_module("graphprune.face.shrink"), "settle", settle)


def _settle_quickly(graph: DependencyGraph, request: Request, clock: Clock) -> Settled:
    if request.importance == AUTO and request.calibration is None and not request.repair:
        return Settled(weights_alone(request))
    return settle(graph, request, clock)


@pytest.fixture(autouse=True, scope="session")
def _no_run_is_long() -> Iterator[None]:
    """A slow machine would else have commands say where they are; the tests of that have a clock of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("graphprune.cli.progress"), "PATIENCE", float("inf"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _any_width_will_do() -> Iterator[None]:
    # in the environment, so that processes that tests start see it too
    before = os.environ.get(CACHE)
    with TemporaryDirectory() as folder:
        os.environ[CACHE] = folder
        widths.store(dict.fromkeys(KINDS, 1))
        yield
    os.environ.pop(CACHE)
    if before is not None:
        os.environ[CACHE] = before
