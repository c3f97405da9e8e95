"""The graph of groups: which feeds which, where the boxes go, what the drawing says."""

from __future__ import annotations

from itertools import combinations

from spa.report.drawing import draw
from spa.report.graph import Edge, edges
from spa.report.layout import lay_out, order
from tests.experiments.report_files import NASTY, group, residual


def test_a_weight_of_two_groups_is_an_edge_from_what_it_reads_to_what_it_makes():
    assert edges(residual((1, 1, 1)).groups) == [
        Edge(0, 1, ("a.first",)),
        Edge(0, 2, ("b.first",)),
        Edge(1, 0, ("a.second",)),
    ]


def test_a_matrix_product_has_its_output_last():
    groups = [
        group(0, 8, 0, ("embed", 1), ("up", 0), ("down", 1), ("bias", 0)),
        group(1, 32, 0, ("up", 1), ("down", 0)),
    ]
    assert edges(groups) == [Edge(0, 1, ("up",)), Edge(1, 0, ("down",))]


def test_a_concatenation_is_read_from_several_groups():
    groups = [
        group(0, 8, 0, ("a", 0), ("joined", 1)),
        group(1, 8, 0, ("b", 0), ("joined", 1)),
        group(2, 8, 0, ("joined", 0), ("square", 0), ("square", 1)),
    ]
    assert [(e.source, e.target) for e in edges(groups)] == [(0, 2), (1, 2), (2, 2)]


def test_what_points_at_a_node_comes_before_it():
    assert order(4, [(3, 0), (0, 2), (2, 1)]) == [3, 0, 2, 1]
    assert order(3, [(0, 1), (1, 2), (2, 0)]) == [0, 1, 2]  # a cycle is opened at the first


def test_layers_are_longest_paths():
    layout = lay_out(4, [(0, 1), (1, 2), (0, 2), (2, 3)])
    assert [box.layer for box in layout.boxes] == [0, 1, 2, 3]
    assert [(bend.layer, upper) for bend, _, upper in layout.bends] == [(1, 0)]


def test_edges_of_one_node_share_a_lane():
    chain = [(i, i + 1) for i in range(9)]
    layout = lay_out(10, [*chain, *((0, i) for i in range(2, 10))])
    assert len(layout.bends) == 8  # one for each layer between the first and the last


def test_cycles_and_loops_are_laid_out():
    layout = lay_out(3, [(0, 1), (1, 0), (1, 1), (2, 0), (1, 2)])
    assert layout.loops == [1]
    assert {(wire.way, wire.upper) for wire in layout.wires} >= {("both", 0)}
    assert lay_out(0, []).boxes == []


def test_nothing_overlaps_and_everything_is_inside():
    dense = [(i, j) for i in range(24) for j in range(i + 1, 24) if (i + j) % 3]
    layout = lay_out(24, dense)
    items = [*layout.boxes, *(bend for bend, _, _ in layout.bends)]
    for one, other in combinations(items, 2):
        if one.layer == other.layer:
            assert abs(one.x - other.x) >= (one.width + other.width) / 2
    assert min(item.x - item.width / 2 for item in items) >= 0
    assert max(item.x + item.width / 2 for item in items) <= layout.width
    assert max(layout.bottom(item) for item in items) <= layout.height


def test_a_drawing_says_widths_and_shares_and_escapes_names():
    svg = draw([group(0, 16, 4, (NASTY, 0)), group(7, 8, 0, ("b", 0))], "of it")
    assert "16 → 12" in svg
    assert "−25 %" in svg
    assert "8 → 8" in svg
    assert svg.count('class="group"') == 2
    assert "<img" not in svg
    assert "<path" not in svg  # they have nothing in common
