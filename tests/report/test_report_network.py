"""The layers of a network: their cost adds up, their picture goes down the page, and other tools read it."""

from __future__ import annotations

import re
import sys
import time
import xml.etree.ElementTree as ElementTree
from itertools import groupby

import networkx as nx
import pydot
import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.report.facts import distribution
from graphprune.report.graph_files import WRITERS
from graphprune.report.layout import drawn, layered
from graphprune.report.picture import layer_graph


class Net(nn.Module):
    """A residual branch, a joint, a layer that is called twice, a parameter of the model's own, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Linear(6, 8), nn.LayerNorm(8)
        self.twice = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.ones(8))
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        x = x + self.twice(self.twice(x).relu()) * self.scale
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.out((q @ k.transpose(1, 2)).softmax(-1) @ v)


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    return gp.trace(Net(), torch.zeros(2, 4, 6))


@pytest.fixture(scope="module")
def halves(graph: gp.DependencyGraph) -> dict[str, int]:
    return {group.name: group.size // 2 for group in graph.groups}


def test_cost_adds_up(graph: gp.DependencyGraph, halves: dict[str, int]) -> None:
    rows = [data for _, data in layer_graph(graph, halves).nodes(data=True)]
    for place, cost in enumerate((graph.cost(), graph.cost(halves))):
        assert sum(row["params"][place] for row in rows) == cost.params
        assert sum(row["macs"][place] for row in rows) == cost.macs


def test_nodes_and_edges(graph: gp.DependencyGraph, halves: dict[str, int]) -> None:
    network = layer_graph(graph, halves)
    shown = [
        (data["name"], data["kind"], data["width"], sorted(data["roles"].values()))
        for _, data in network.nodes(data=True)
    ]
    assert shown == [
        ("x", "input", [0, 0], []),
        ("stem", "Linear", [8, 4], ["produces"]),
        ("norm", "LayerNorm", [8, 4], ["carries"]),
        ("twice", "Linear", [8, 4], ["carries"]),
        ("scale", "mul", [8, 4], ["carries"]),
        ("", "add", [8, 4], ["passes"]),
        ("qkv", "Linear", [24, 12], ["consumes", "produces", "produces"]),
        ("", "matmul", [0, 0], []),
        ("", "matmul", [8, 4], ["passes"]),
        ("out", "Linear", [5, 5], ["consumes"]),
        ("output", "output", [0, 0], []),
    ]
    assert sorted(network.edges) == [
        (0, 1), (1, 2), (2, 3), (2, 5), (3, 4), (4, 5), (5, 6), (6, 7), (6, 8), (7, 8), (8, 9), (9, 10)
    ]  # fmt: skip
    assert network.nodes[1]["pins"][0][:3] == ["stem.weight", 1, 6]


def test_the_picture_goes_down(graph: gp.DependencyGraph) -> None:
    network = layer_graph(graph)
    picture = drawn(network)
    bars = {bar["id"]: bar for bar in picture["bars"]}
    assert set(bars) == set(network)
    for start, end in network.edges:
        assert bars[start]["top"] < bars[end]["top"]
    for _, corners in groupby(picture["lines"], lambda corner: corner["edge"]):
        heights = [corner["y"] for corner in corners]
        assert heights == sorted(heights)
    side = (picture["column"] - 20) / 2  # of the widest bar
    assert all(side <= bar["centre"] <= picture["width"] - side for bar in bars.values())
    # the norm stands under its layer, and has no label of its own
    assert bars[2]["centre"] == bars[1]["centre"]
    assert bars[2]["top"] == bars[1]["bottom"] + 1
    assert bars[1]["label"]
    assert not bars[2]["label"]


@pytest.mark.parametrize("reach", [2, 60])
def test_large_networks_are_laid_out_quickly(reach: int) -> None:
    """A chain of 1000 layers, each of which the ``reach`` next ones read, as in a dense block."""
    network = nx.DiGraph((i, j) for i in range(1000) for j in range(i + 1, min(i + reach, 999) + 1))
    for node in network:
        network.nodes[node].update(width=[node, node], tensors=["w"], macs=[1, 1])
        network.nodes[node].update(name="layer", kind="Linear", params=[1, 1])
    started = time.process_time()
    picture = drawn(network)
    assert time.process_time() - started < 5
    assert len(picture["bars"]) == 1000
    assert len({corner["edge"] for corner in picture["lines"]}) == network.number_of_edges()


def test_a_dense_block_goes_down_in_one_column() -> None:
    """Of its many edges only the chain has a way of its own; one around a branch has one, and so have branches."""
    dense = nx.DiGraph((i, j) for i in range(12) for j in range(i + 1, 12))
    places, routes = layered(dense)
    assert len({column for column, _ in places.values()}) <= 2
    assert {(i, i + 1) for i in range(11)} <= set(routes)
    assert len(routes) < 15
    around = nx.DiGraph([(0, 1), (1, 2), (2, 3), (0, 3)])
    assert set(layered(around)[1]) == set(around.edges)
    branches = nx.DiGraph([(0, 1), (0, 2), (2, 3), (0, 4), (4, 5), (5, 6), (1, 7), (3, 7), (6, 7)])
    assert set(layered(branches)[1]) == set(branches.edges)


def test_nothing_to_draw() -> None:
    assert drawn(nx.DiGraph())["bars"] == []


def test_distribution() -> None:
    spread = distribution(torch.tensor([4.0, 1.0, 3.0, 2.0]), torch.tensor([0, 2]))
    assert (spread["quantiles"], spread["cut"]) == ([1.0, 1.75, 2.5, 3.25, 4.0], 2.5)
    assert (sum(spread["kept"]), sum(spread["removed"])) == (2, 2)
    mixed = distribution(torch.tensor([[4.0, 1.0], [3.0, 2.0]]), torch.tensor([[1], [0]]))
    assert mixed["cut"] is None
    assert distribution(torch.full((3,), torch.nan), torch.tensor([0]))["cut"] is None
    assert sum(distribution(torch.ones(3), torch.tensor([0]))["removed"]) == 2


def odd_names(network: nx.DiGraph) -> nx.DiGraph:
    network = network.copy()
    network.nodes[1]["name"] = 'a"]; <b>\\n & "quoted"'
    return network


def test_graphml_is_read_back(graph: gp.DependencyGraph) -> None:
    network = odd_names(layer_graph(graph))
    text = WRITERS["graphml"](network)
    ElementTree.fromstring(text)
    read = nx.parse_graphml(text, node_type=int)
    assert set(read.edges) == set(network.edges)
    for node, data in network.nodes(data=True):
        assert read.nodes[node]["layer"] == data["name"]
        assert read.nodes[node]["width_before"] == data["width"][0]
        assert read.nodes[node].get("groups", "") == "; ".join(data["roles"])
    assert read.nodes[2]["carries"] == "stem.weight:0"


def test_dot_is_read_back(graph: gp.DependencyGraph) -> None:
    network = odd_names(layer_graph(graph))
    (read,) = pydot.graph_from_dot_data(WRITERS["dot"](network))
    nodes = {node.get_name(): node for node in read.get_nodes() if re.fullmatch(r"n\d+", node.get_name())}
    assert set(nodes) == {f"n{number}" for number in network}
    assert {(edge.get_source(), edge.get_destination()) for edge in read.get_edges()} == {
        (f"n{start}", f"n{end}") for start, end in network.edges
    }
    assert nodes["n3"].get("width_before") == '"8"'
    assert nodes["n1"].get("produces") == '"stem.weight:0"'
    assert nodes["n1"].get("layer") == r'"a\"]; <b>\\n & \"quoted\""'


def test_mermaid_is_read_back(graph: gp.DependencyGraph) -> None:
    network = odd_names(layer_graph(graph))
    head, *lines = WRITERS["mermaid"](network).splitlines()
    assert head == "flowchart TD"
    labels = dict(
        re.fullmatch(r'n(\d+)\["([^"]*)"\]', line.strip()).groups() for line in lines if "[" in line
    )
    plain = {int(node): re.sub(r"#(\d+);", lambda m: chr(int(m[1])), label) for node, label in labels.items()}
    assert plain[3] == "twice<br>Linear 8"
    assert plain[1].startswith(network.nodes[1]["name"])
    assert set(plain) == set(network)
    edges = {tuple(map(int, found)) for line in lines for found in re.findall(r"n(\d+) --> n(\d+)", line)}
    assert edges == set(network.edges)
    names = dict(found for line in lines for found in re.findall(r"%% (g\d+): (.*)", line))
    members = {
        names[group]: {int(node[1:]) for node in nodes.split(",")}
        for line in lines
        for nodes, group in re.findall(r"class (\S+) (g\d+)", line)
    }
    assert members == {
        group.name: {node for node, data in network.nodes(data=True) if group.name in data["roles"]}
        for group in graph.groups
    }


def test_without_fast_sugiyama_rows_alone_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fast_sugiyama", None)  # as on Python 3.10
    places, routes = layered(nx.DiGraph([(0, 1), (0, 2), (1, 3), (2, 3)]))
    assert places == {0: (0.5, 0), 1: (0.0, 1), 2: (1.0, 1), 3: (0.5, 2)}
    assert routes == {}


def test_a_layer_whose_norm_is_all_that_follows_is_drawn_beside_the_rest() -> None:
    """A part of the network that comes down to one place, as where nothing reads it, or where it reads no input."""
    network = nx.DiGraph([(0, 1), (2, 3)])
    for node in network:
        network.nodes[node].update(width=[4, 2], tensors=["w"], macs=[node % 2 == 0 and 1, 0])
        network.nodes[node].update(name=f"layer{node}", kind="Linear", params=[1, 1])
    network.nodes[1].update(macs=[1, 1])
    picture = drawn(network)
    bars = {bar["id"]: bar for bar in picture["bars"]}
    assert set(bars) == {0, 1, 2, 3}
    assert bars[3]["centre"] == bars[2]["centre"]
    assert bars[3]["top"] > bars[2]["top"]
    assert bars[2]["centre"] > bars[0]["centre"]
    side = (picture["column"] - 20) / 2  # of the widest bar
    assert all(side <= bar["centre"] <= picture["width"] - side for bar in bars.values())
    alone = network.subgraph([2, 3])
    assert {bar["id"] for bar in drawn(alone)["bars"]} == {2, 3}


def test_a_network_that_runs_in_a_circle_is_refused(graph: gp.DependencyGraph) -> None:
    """As in a report that somebody sent; none that is written here has one."""
    network = layer_graph(graph, {})
    first, *_, last = [node for node in network if network.degree(node)]
    network.add_edge(first, last)
    network.add_edge(last, first)
    with pytest.raises(gp.InputError, match="circle"):
        drawn(network)
