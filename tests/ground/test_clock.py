"""How far a stage has come, told to whoever listens."""

from collections.abc import Iterator

from graphprune.ground.clock import counted, part, told, within


def test_nobody_listens() -> None:
    part(0.5)
    assert list(counted([1, 2])) == [1, 2]


def test_steps_within_a_part_never_go_back() -> None:
    heard: list[float] = []
    with told(heard.append):
        with within(0, 0.5):
            for _ in counted(range(4)):
                part(0.5)
        with within(0.5, 1):
            part(0.5)
    assert heard == sorted(heard)
    assert heard[:2] == [0.0625, 0.125]
    assert heard[-2:] == [0.75, 1.0]


def test_what_has_no_length_is_not_counted() -> None:
    heard: list[float] = []

    def stream() -> Iterator[int]:
        yield from (1, 2)

    with told(heard.append):
        assert list(counted(stream())) == [1, 2]
        assert heard == []
        assert list(counted(stream(), 2)) == [1, 2]
    assert heard == [0.5, 1.0]


def test_more_items_than_were_promised() -> None:
    heard: list[float] = []
    with told(heard.append):
        assert list(counted([1, 2, 3], 2)) == [1, 2, 3]
    assert heard == [0.5, 1.0, 1.0]


def test_a_loop_that_is_left_gives_the_listener_back() -> None:
    heard: list[float] = []
    with told(heard.append):
        for _ in counted([1, 2]):
            break
        part(0.75)
    assert heard == [0.75]
