"""No silent error at any size: every form of a slim model gives the masked original, or refuses by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from black_box import parameters, reproducible  # noqa: F401  (a fixture)
from sized_cases import CASES as MODELS
from sized_cases import FIXED_IN_ONNX, IDIOMS
from sized_check import FORMS, Slim, changed, compare

from graphprune.capture.dimensions import Dimension
from graphprune.ground.errors import InputError

CASES = {**MODELS, **IDIOMS}
Slims = Callable[[str], Slim]


@pytest.fixture(scope="module")
def slims(tmp_path_factory: pytest.TempPathFactory) -> Slims:
    """Each case is shrunk once."""
    made: dict[str, Slim | Exception] = {}

    def of(name: str) -> Slim:
        if name not in made:
            try:
                made[name] = Slim(CASES[name], tmp_path_factory.mktemp("slim"))
            except Exception as error:
                made[name] = error
        found = made[name]
        if isinstance(found, Exception):
            raise found
        return found

    return of


@pytest.mark.parametrize("name", CASES)
def test_something_is_removed(name: str, slims: Slims) -> None:
    slim = slims(name)
    assert parameters(slim.result.model) < parameters(slim.original)
    for form in FORMS[:3]:
        assert compare(slim, form, CASES[name].example).kind == "right", form


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
def test_right_at_every_size(name: str, form: str, slims: Slims) -> None:
    """Where the original lets a size vary, and Python takes no decision on it, so does the slim model."""
    slim, case = slims(name), CASES[name]
    outcomes = [(sizes, compare(slim, form, sizes)) for sizes in case.others()]
    ran = [sizes for sizes in case.others() if slim.expected(sizes)[1] is not None]
    assert len(ran) == len(outcomes), "the original refuses sizes that the table says are right"
    allowed = {"right", "refused"} if form == "onnx" and name in FIXED_IN_ONNX else {"right"}
    wrong = [f"{_shown(sizes)}: {o.kind}: {o.said}" for sizes, o in outcomes if o.kind not in allowed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refused])
def test_right_or_refused(name: str, form: str, slims: Slims) -> None:
    slim = slims(name)
    outcomes = [(sizes, compare(slim, form, sizes)) for sizes in CASES[name].refusable()]
    wrong = [f"{_shown(sizes)}: {o.said}" for sizes, o in outcomes if o.kind == "wrong"]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("form", FORMS[:3])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refused])
def test_a_refusal_names_the_input(name: str, form: str, slims: Slims) -> None:
    """And the dimension: ``x[2] is 48, …``. A decision on the sizes of inner tensors names the user's line instead.

    What the original refuses by itself may be refused in any way.
    """
    slim, case = slims(name), CASES[name]
    for sizes in case.refusable():
        outcome = compare(slim, form, sizes)
        if outcome.kind != "refused" or slim.expected(sizes)[1] is None:
            continue
        assert isinstance(outcome.error, ValueError if form == "model.py" else InputError), outcome.said
        labels = {
            str(d) for d in slim.result.graph.program.dimensions if (d.place, d.dim) in changed(case, sizes)
        }
        decided = "decides on its sizes" in outcome.said and "sized_" in outcome.said
        assert decided or any(label in outcome.said for label in labels), outcome.said


@pytest.mark.parametrize("name", CASES)
def test_the_program_says_which_dimensions_vary(name: str, slims: Slims) -> None:
    slim, case = slims(name), CASES[name]
    known = {(d.place, d.dim): d for d in slim.result.graph.program.dimensions}
    varying = set().union(*(changed(case, sizes) for sizes in case.others()))
    fixed = [known[at] for at in sorted(varying) if not known[at].name]
    assert not fixed, [f"{d}: {d.reason}" for d in fixed]
    refused = set().union(*(changed(case, sizes) for sizes in case.refusable()))
    assert all(known[at].name or known[at].reason for at in refused)


@pytest.mark.parametrize("name", CASES)
def test_the_onnx_file_says_which_dimensions_vary(name: str, slims: Slims) -> None:
    """By name, the same as the program's; what is fixed there alone has the example's size."""
    import onnx

    slim = slims(name)
    slim("onnx")
    inputs = onnx.load(str(slim.folder / "onnx" / "model.onnx"), load_external_data=False).graph.input
    found = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in inputs]
    shapes: dict[int, list[Dimension]] = {}
    for dimension in slim.result.graph.program.dimensions:
        shapes.setdefault(dimension.place, []).append(dimension)
    for given, known in zip(filter(None, found), shapes.values(), strict=True):
        for size, dimension in zip(given, known, strict=True):
            fixed = name in FIXED_IN_ONNX and size == dimension.size
            assert fixed or size == (dimension.name or dimension.size), dimension


def _shown(sizes: dict[str, int]) -> str:
    return " ".join(f"{name}={size}" for name, size in sizes.items())


def test_the_table_is_long_enough() -> None:
    """Two other sizes for each size that may differ."""
    assert len(MODELS) >= 36
    assert not set(MODELS) & set(IDIOMS)
    for case in CASES.values():
        assert set(case.refused) <= set(case.right)
        for name, sizes in case.right.items():
            assert len(sizes) > 2 or name in case.refused
