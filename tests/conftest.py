"""No test depends on how fast this machine is: the runtime is said to like any width, unless a test says otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from graphprune.axes.kinds import KINDS
from graphprune.ground.files import CACHE
from graphprune.profiling import widths

# as modules of doctests they would be mistaken for each other
collect_ignore_glob = ["*conftest.py"]


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
