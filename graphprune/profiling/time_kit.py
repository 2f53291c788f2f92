"""Times the models of this folder on this device, and writes times.json.

    python time_kit.py                                   # onnxruntime on the processor, as many threads as it likes
    python time_kit.py --threads 1
    python time_kit.py --provider CUDAExecutionProvider  # any execution provider of onnxruntime
    python time_kit.py --commands trtexec                # prints commands for TensorRT, or for benchmark_app (OpenVINO)
    python time_kit.py --collect trtexec                 # times.json from what these have written

It needs onnxruntime, and numpy, which that brings; to collect it needs neither. Nothing else of graphprune is needed.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KERNEL = "_kernel_time"  # of the events that onnxruntime's profile has for nodes
LEVELS = {"all": "ENABLE_ALL", "extended": "ENABLE_EXTENDED", "basic": "ENABLE_BASIC", "none": "DISABLE_ALL"}
WATCHED = 9  # runs by which the parts of a model are known
Kit = dict[str, Any]


def session_of(path: Path, options: argparse.Namespace, profile: Path | None = None) -> Any:
    """A session of onnxruntime."""
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = options.threads
    chosen.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    chosen.graph_optimization_level = getattr(levels, f"ORT_{LEVELS[options.level]}")
    if profile is not None:
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(str(path), chosen, providers=[options.provider])


def node_times(path: Path, feed: dict[str, Any], options: argparse.Namespace) -> list[list[Any]]:
    """Name, operator and milliseconds of every node of a model, as the runtime has them."""
    with tempfile.TemporaryDirectory() as folder:
        session = session_of(path, options, Path(folder, "profile"))
        for _ in range(WATCHED + 1):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            key = event["name"][: -len(KERNEL)], event["args"]["op_name"]
            spent.setdefault(key, []).append(event["dur"] / 1000)
    return [[*key, round(min(times[1:]), 6)] for key, times in spent.items() if times[1:]]


def timed(folder: Path, kit: Kit, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of every model in each of several rounds, in which all models run in turn."""
    import numpy

    with numpy.load(folder / "inputs.npz", allow_pickle=False) as inputs:
        feed = {name: inputs[name] for name in inputs.files}
    models = list(kit["models"])
    nodes = {name: node_times(folder / name, feed, options) for name in models}
    sessions = {name: session_of(folder / name, options) for name in models}
    spent: dict[str, list[float]] = {name: [] for name in models}
    for session in sessions.values():
        session.run(None, feed)
    # one thread is timed by its own clock, which other processes do not move
    alone = options.threads == 1 and options.provider == "CPUExecutionProvider"
    clock = time.thread_time if alone else time.perf_counter
    start = time.perf_counter()
    while time.perf_counter() < start + options.seconds or len(spent[models[-1]]) < 7:
        for name, session in sessions.items():
            begin = clock()
            session.run(None, feed)
            spent[name].append(1000 * (clock() - begin))
    return {name: {"ms": spent[name], "nodes": nodes[name]} for name in models}


def shapes_of(kit: Kit) -> dict[str, str]:
    """Name of an input → its sizes as 1x3x224x224."""
    return {name: "x".join(map(str, sizes)) for name, sizes in kit["inputs"].items()}


def commands(tool: str, kit: Kit) -> Iterator[str]:
    """One command for each model."""
    for name in kit["models"]:
        stem = name.removesuffix(".onnx")
        if tool == "trtexec":
            shapes = ",".join(f"{key}:{sizes}" for key, sizes in shapes_of(kit).items())
            yield f"trtexec --onnx={name} --shapes={shapes} --noDataTransfers --exportTimes={stem}.trtexec.json"
        else:
            shapes = ",".join(f"{key}[{sizes.replace('x', ',')}]" for key, sizes in shapes_of(kit).items())
            yield (
                f"mkdir -p {stem} && benchmark_app -m {name} -shape '{shapes}' -hint latency -t 10 "
                f"-report_type no_counters -report_folder {stem}"
            )


def collected(tool: str, folder: Path, kit: Kit) -> dict[str, Any]:
    """What ``commands`` have written."""
    found = {}
    for name in kit["models"]:
        stem = name.removesuffix(".onnx")
        if tool == "trtexec":  # a list with one entry for each run
            runs = json.loads((folder / f"{stem}.trtexec.json").read_text())
            found[name] = {"ms": [float(run["computeMs"]) for run in runs]}
        else:
            text = (folder / stem / "benchmark_report.csv").read_text()
            line = re.search(r"^latency \(ms\);\s*([0-9.]+)", text, re.MULTILINE)
            if line is None:
                raise SystemExit(f"{folder / stem}/benchmark_report.csv has no latency (ms)")
            found[name] = {"ms": [float(line[1])]}
    return found


def device_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the times are of, in words."""
    name = options.name or f"{platform.node()} ({platform.machine()}, {platform.system()})"
    if options.collect:
        return {"name": name, "runtime": options.collect}
    import onnxruntime

    level = "" if options.level == "all" else f", optimisations {options.level}"
    runtime = f"onnxruntime {onnxruntime.__version__}, {options.provider}{level}"
    return {"name": name, "runtime": runtime, "threads": options.threads}


def main() -> None:
    """Parses the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--provider", default="CPUExecutionProvider", help="of onnxruntime")
    parser.add_argument("--threads", type=int, default=0, help="of onnxruntime; 0 leaves it to the runtime")
    parser.add_argument("--level", choices=LEVELS, default="all", help="of the runtime's optimisations")
    parser.add_argument("--seconds", type=float, default=30.0, help="that the models run in turn")
    parser.add_argument("--name", default="", help="of the device, for reports")
    parser.add_argument("--commands", choices=("trtexec", "benchmark_app"), help="print what to run")
    parser.add_argument("--collect", choices=("trtexec", "benchmark_app"), help="read what was run")
    parser.add_argument("--output", type=Path, default=Path("times.json"), help="where the times go")
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    kit = json.loads((folder / "kit.json").read_text())
    if options.commands:
        print("\n".join(commands(options.commands, kit)))
        return
    if not options.collect:
        print(f"times {len(kit['models'])} models for about {options.seconds:.0f} s")
    try:
        found = collected(options.collect, folder, kit) if options.collect else timed(folder, kit, options)
    except FileNotFoundError as error:
        raise SystemExit(
            f"there is no {error.filename}: run what --commands prints in {folder} first"
        ) from error
    models = {name: {**kit["models"][name], **row} for name, row in found.items()}
    document = {"format": 1, "model": kit["model"], "batch": kit["batch"], "device": device_of(options)}
    options.output.write_text(json.dumps({**document, "models": models}, indent=1) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
