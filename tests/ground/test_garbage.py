"""When garbage is looked for, and that it is found in the end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from graphprune.ground.garbage import collected_later, new_collected


class Loop:
    """Garbage that only a search finds."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    yield
    assert gc.isenabled()
    assert not gc.get_freeze_count()


def test_nothing_is_searched_for_a_while() -> None:
    searches: list[str] = []

    def heard(phase: str, info: dict[str, int]) -> None:
        searches.append(phase)

    gc.callbacks.append(heard)
    try:
        with collected_later(), collected_later():
            loops = [Loop() for _ in range(10_000)]
            assert not searches
        assert len(loops) + len([Loop() for _ in range(10_000)]) == 20_000
        assert searches
    finally:
        gc.callbacks.remove(heard)


def test_a_failure_does_not_end_all_searches() -> None:
    with pytest.raises(ValueError, match="so"), collected_later():
        raise ValueError("so")


def test_who_searches_by_himself_goes_on_so() -> None:
    gc.disable()
    try:
        with collected_later():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_new_garbage_is_found_and_old_garbage_afterwards() -> None:
    gc.collect()
    with collected_later():
        old = weakref.ref(Loop())
        with new_collected(), new_collected():
            new = weakref.ref(Loop())
            gc.collect()
            assert new() is None
            assert old() is not None
    gc.collect()
    assert old() is None


def test_what_others_left_out_stays_so() -> None:
    gc.freeze()
    try:
        with new_collected():
            pass
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
