"""``--config FILE``: all that a command takes, in a file, and a file with every result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import torch

import graphprune as gp
from graphprune.asking.record import as_options
from graphprune.asking.toml import settings_text, spelled
from graphprune.cli.declared import run_settings
from graphprune.cli.request import ShrinkRequest

NAMES = {name.replace("_", "-") for name in run_settings(ShrinkRequest("net"))}


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "wish.toml"
        path.write_text(text)
        return path

    return write


def plan_in(folder: Path) -> str:
    return (folder / "plan.json").read_text()


@pytest.mark.parametrize(
    "options",
    [
        (
            "--macs",
            "0.6",
            "--params",
            "150k",
            "--importance",
            "l1:mean:max",
            "--align",
            "2",
            "--protect",
            "stem*",
            "--seed",
            "3",
        ),
        ("--params", "0.7", "--ranking", "uniform", "--max-ratio", "0.6", "--layer-ratio", "blocks.0*=0.25"),
        ("--ratio", "0.5", "--importance", "random", "--weights", "none", "--input-shape", "5,1,8,8"),
        ("--lossless", "--weights", "none"),
    ],
)
def test_a_result_repeats_itself(run: Callable[..., Any], tmp_path: Path, options: tuple[str, ...]) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    done = run("shrink", "zoo:digits_resnet", *options, "--no-latency", "-o", first)
    assert done.exit_code == 0, done.output
    done = run("shrink", "--config", first / "shrink.toml", "-o", again)
    assert done.exit_code == 0, done.output
    assert plan_in(again) == plan_in(first)
    wanted = (first / "shrink.toml").read_text().replace(str(first), str(again))
    assert (again / "shrink.toml").read_text() == wanted


def test_a_result_can_be_repeated_in_its_place(run: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("shrink", f"{net}:with_inputs", "--ratio", "0.5", "--no-latency", "-o", out)
    assert done.exit_code == 0, done.output
    before = plan_in(out)
    done = run("shrink", "--config", out / "shrink.toml", "--trust")
    assert done.exit_code == 0, done.output
    assert plan_in(out) == before


def test_a_result_from_python_says_how_to_repeat_it(run: Callable[..., Any], tmp_path: Path) -> None:
    from models_zoo import get, load

    entry = get("digits_resnet")
    constraints = {
        "align": 2,
        "protect": ("blocks.0*",),
        "ratios": {"blocks.3.conv1*": 0.25},
        "max_ratio": 0.75,
    }
    result = gp.shrink(load("digits_resnet"), entry.example_inputs(1), macs=0.7, seed=1, **constraints)
    result.save(tmp_path / "first", latency=False, onnx=False)
    settings = tmp_path / "first" / "shrink.toml"
    done = run("shrink", "zoo:digits_resnet", "--config", settings, "--no-latency", "-o", tmp_path / "again")
    assert done.exit_code == 0, done.output
    assert plan_in(tmp_path / "again") == plan_in(tmp_path / "first")
    assert "# It was made in Python" in settings.read_text()


@pytest.mark.parametrize(
    "arguments", [{"macs": 0.7, "params": 0.8}, {"ratio": 0.5, "align": 2}, {"lossless": True}]
)
def test_what_a_plan_records_are_options(arguments: dict[str, Any]) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    plan = gp.shrink(model, torch.zeros(2, 6), **arguments).plan
    said = tomlkit.parse(settings_text(spelled(as_options(plan.request)))).unwrap()
    assert set(said) <= NAMES
    assert arguments.items() <= said.items()


def test_the_command_line_goes_before_the_file(
    run: Callable[..., Any], config: Callable[[str], Path], tmp_path: Path
) -> None:
    path = config('model = "zoo:mlp"\nratio = 0.5\nno-latency = true\nweights = "none"\n')
    done = run("shrink", "--config", path, "--ratio", "0.25", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    said = tomlkit.parse((tmp_path / "out" / "shrink.toml").read_text())
    assert (said["model"], said["ratio"], said["weights"]) == ("zoo:mlp", 0.25, "none")
    assert set(said) <= NAMES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = -1e23", "seed = -1e+23 should be a valid integer"),
        ("seed = inf", "seed = Infinity"),
        ("seed = 99999999999999999999", "seed=99999999999999999999 is out of range"),
        ("align = 99999999999999999999", "align=99999999999999999999 is out of range"),
        ("align = -1e23", "align='-1e+23' is no number"),
        ("align = nan", "align='nan' is no number"),
        ("batch = -99999999999999999999", "batch=-99999999999999999999 is not a positive whole number"),
        ("min-metric = nan\ntune = 'zoo:digits'", "min_metric=nan is out of range"),
    ],
)
def test_numbers_in_the_file_that_are_out_of_range(
    refused: Callable[..., str], config: Callable[[str], Path], tmp_path: Path, text: str, said: str
) -> None:
    path = config(f'model = "zoo:mlp"\nmacs = 0.5\n{text}\n')
    assert said in refused("shrink", "--config", path, "-o", tmp_path / "out")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_option_may_be_in_the_file(
    refused: Callable[..., str], config: Callable[[str], Path], name: str
) -> None:
    # a table is right for none of them, and nothing is run
    assert f'{name} = {{"x": 1}} should be a valid' in refused("shrink", "--config", config(f"{name}.x = 1"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("marcs = 0.5", "has an unknown key 'marcs' — did you mean 'macs'?"),
        ("max_ration = 0.5", "has an unknown key 'max_ration' — did you mean 'max-ratio'?"),
        ("[shrink]\nmacs = 0.5", "has an unknown key 'shrink' — "),
        ("weights = 1", "weights = 1 should be a valid string — correct it"),
        ("macs = true", "macs = true should be a valid number — correct it"),
        ("min-keep = 1.5", "min-keep = 1.5 should be a valid integer"),
        ("lossless = 1", "lossless = 1 should be a valid boolean"),
        ('protect = "head"', 'protect = "head" should be a valid array'),
        ("protect = [1]", "protect = [1] should be a valid string"),
        ("macs = ", "is not TOML: "),
        ("macs = 1\nmacs = 2", "is not TOML: "),
    ],
)
def test_refused_with_the_place_and_the_remedy(
    refused: Callable[..., str], config: Callable[[str], Path], text: str, said: str
) -> None:
    path = config(text)
    line = refused("shrink", "zoo:mlp", "-o", "x", "--config", path)
    assert str(path) in line
    assert said in line


def test_tuning_is_configured_alike(refused: Callable[..., str], config: Callable[[str], Path]) -> None:
    line = refused("tune", "--config", config('directory = "none"\ndata = "zoo:digits"\nepoch = 3'))
    assert line.endswith("has an unknown key 'epoch' — did you mean 'epochs'?")
    line = refused("tune", "--config", config('directory = "none"\ndata = "zoo:digits"\nema = 2.0'))
    assert line.startswith("ema=2 is out of range")


def test_a_file_that_is_not_there(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "No such file" in refused("shrink", "--config", tmp_path / "no.toml")


def test_budgets_of_both_are_too_many(refused: Callable[..., str], config: Callable[[str], Path]) -> None:
    line = refused("shrink", "zoo:mlp", "--config", config("macs = 0.5"), "--ratio", "0.5", "-o", "x")
    assert line.startswith("macs and ratio are given together — ")


MARK = "from pathlib import Path\nPath('ran').touch()\n"
OPTIONS = ("model", "calibration", "loss", "evaluate", "tune")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, beside another one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def received(folder: Path, file: Path, option: str, beside: str = "") -> Path:
    """A configuration in ``folder`` that names a ``file`` of Python, which leaves a mark where it is run."""
    folder.mkdir(exist_ok=True)
    file.write_text(MARK)
    (folder / beside).touch()
    said = {"model": "zoo:mlp", "ratio": 0.5, option: f"{file}:make"}
    (folder / "wish.toml").write_text(tomlkit.dumps(said))
    return folder / "wish.toml"


@pytest.mark.parametrize("option", OPTIONS)
def test_a_configuration_of_a_result_runs_no_file_unasked(
    refused: Callable[..., str], here: Path, option: str
) -> None:
    config = received(here / "slim", here / "net.py", option, "plan.json")
    line = refused("shrink", "--config", config, "-o", "out")
    shown = "MODEL" if option == "model" else f"--{option}"
    assert f"{config} would run {here / 'net.py'}, and the configuration came with a result" in line
    assert f"add --trust if you trust that file, or name it yourself: {shown} {here / 'net.py'}:make" in line
    assert not (here / "ran").exists()


def test_a_configuration_runs_no_file_of_another_folder(refused: Callable[..., str], here: Path) -> None:
    outside = received(here, here.parent / "net.py", "model")
    assert "it is outside of the current folder" in refused("shrink", "--config", outside, "-o", "out")
    beside = received(here / "sent", here / "sent" / "net.py", "model")
    assert "it came with the configuration" in refused("shrink", "--config", beside, "-o", "out")
    assert not (here / "ran").exists()


def test_what_is_named_or_trusted_is_run(refused: Callable[..., str], here: Path) -> None:
    config = received(here / "slim", here / "net.py", "model", "plan.json")
    for words in (("--trust",), (f"{here / 'net.py'}:make",)):
        assert "has no 'make'" in refused("shrink", "--config", config, "-o", "out", *words)
        (here / "ran").unlink()
    own = received(here, here / "net.py", "model")
    assert "has no 'make'" in refused("shrink", "--config", own, "-o", "out")


def test_trust_cannot_be_given_by_the_file_itself(
    refused: Callable[..., str], config: Callable[[str], Path]
) -> None:
    assert "unknown key 'trust'" in refused("shrink", "--config", config("trust = true"))


def test_documents_have_bounds(refused: Callable[..., str], config: Callable[[str], Path]) -> None:
    for text, said in (
        (f"macs = {'[' * 5000}", "is not TOML"),
        ("macs = nan", "macs=nan is out of range"),
        ("seed = 99999999999999999999999", "is out of range"),
        (f"model = '{'x' * 2**20}'", "more than 1,048,576"),
    ):
        assert said in refused("shrink", "zoo:mlp", "-o", "x", "--config", config(text))
