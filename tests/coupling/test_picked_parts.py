"""A computed tensor of several parts, each picked by itself: kernels, heads, tables of norms.

`k[:, j]`, unbind, chunk, slices: whoever reads a part counts on it, so that a part may not go whole
while it is read. Within the parts pruning follows their readers, the same index in every part.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder
from tests.oracles import assert_equals_zeroed

FAR = 2**31 - 1


def by_gather(g: Builder, x: str, axis: int, j: int, count: int) -> str:
    return g.node("Gather", [x, g.ints(j)], axis=axis)


def by_negative(g: Builder, x: str, axis: int, j: int, count: int) -> str:
    return g.node("Gather", [x, g.ints(j - count)], axis=axis)


def by_list_of_one(g: Builder, x: str, axis: int, j: int, count: int) -> str:
    return g.squeeze(g.node("Gather", [x, g.ints([j])], axis=axis), [axis])


def by_slice(g: Builder, x: str, axis: int, j: int, count: int) -> str:
    last = j == count - 1
    return g.squeeze(g.slice(x, j - count, FAR if last else j + 1, axis=axis), [axis])


def by_split(g: Builder, x: str, axis: int, j: int, count: int) -> str:
    return g.squeeze(g.split(x, [1] * count, axis=axis)[j], [axis])


def by_chunk(g: Builder, x: str, axis: int, j: int, count: int) -> str:
    if j == 0:
        return g.squeeze(g.split(x, [1, count - 1], axis=axis)[0], [axis])
    return by_slice(g, g.split(x, [1, count - 1], axis=axis)[1], axis, j - 1, count - 1)


def by_gather_nd(g: Builder, x: str, axis: int, j: int, count: int) -> str:
    order = [axis, *(k for k in range(4) if k != axis)]
    return g.node("GatherND", [g.node("Transpose", [x], perm=order), g.ints([j])])


def by_reversal(g: Builder, x: str, axis: int, j: int, count: int) -> str:
    turned = g.slice(x, -1, -FAR, axis=axis, step=-1)
    return by_gather(g, turned, axis, count - 1 - j, count)


def by_crop(g: Builder, x: str, axis: int, j: int, count: int) -> str:
    before = [-j if k == axis else 0 for k in range(4)]
    after = [j + 1 - count if k == axis else 0 for k in range(4)]
    return g.squeeze(g.pad(x, before + after), [axis])


WAYS = [
    by_gather, by_negative, by_list_of_one, by_slice, by_split, by_chunk, by_gather_nd, by_reversal,
    by_crop,
]  # fmt: skip


def multiplied(g: Builder, h: str, kernel: str) -> str:
    """h: (N, I), one after another with a kernel (N, I, O) of its own: (N, O)."""
    return g.squeeze(g.node("MatMul", [g.unsqueeze(h, [1]), kernel]), [1])


def kernels(g: Builder, parts: int, inner: int, outer: int, axis: int = 1) -> str:
    """A table of kernels (N, parts, inner, outer), its parts at an axis."""
    shape = [inner, outer]
    shape.insert(axis - 1, parts)
    table = g.gemm(g.input(5, name="condition"), 5, parts * inner * outer)
    return g.reshape(table, [-1, *shape])


@pytest.mark.parametrize("pick", WAYS)
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_parts_stay_and_shrink_along_what_their_readers_lose(pick, axis):
    """More parts than inputs or outputs: by the count, parts would be the finer choice."""
    g = Builder()
    x = g.input(4)
    table = kernels(g, parts=7, inner=6, outer=3, axis=axis)
    results = [
        multiplied(g, g.gemm(x, 4, 6, bias=False), pick(g, table, axis, j, 7)) for j in range(7)
    ]
    y = g.gemm(g.node("Sum", results), 3, 2)
    proto = g.model(y)
    (line,) = described(proto)
    assert line == "6: b0.0*21 w0.0*21 " + " ".join(f"w{j}.0" for j in range(1, 8))
    prove(proto, seeds=(0,), plain=False)  # both operands are disturbed: it shows in the product


@pytest.mark.parametrize("pick", [way for way in WAYS if way is not by_split])
def test_parts_that_nobody_reads_may_go(pick):
    """Of seven parts the first and the fifth are read; an index moves up to where its part is."""
    g = Builder()
    x = g.input(2)
    table = kernels(g, parts=7, inner=2, outer=2)
    h = multiplied(g, x, pick(g, table, 1, 0, 7))
    h = multiplied(g, h, pick(g, table, 1, 4, 7))
    proto = g.model(h)
    assert described(proto) == ["5: b0.0*4 w0.0*4"]
    prove(proto, seeds=(0, 1), plain=False)


def test_a_part_that_is_read_names_the_reason():
    g = Builder()
    table = kernels(g, parts=4, inner=3, outer=3)
    h = g.input(3)
    for j in range(4):
        h = g.node("Add", [h, multiplied(g, h, by_gather(g, table, 1, j, 4))])
    proto = g.model(h)
    assert described(proto) == []
    assert "w0.0" in kept(proto)


@pytest.mark.parametrize("ratio", [0.5, 0.8, 0.95])
def test_something_is_left_of_every_part(ratio):
    """Heads that are chunks: their channels form one group, and some heads hold the smallest."""
    g = Builder()
    x = g.input(4, 8)
    weights = [g.normal(8, 18) for _ in range(3)]
    for name, head in zip(weights, (1, 1, 2), strict=True):
        tensor = next(t for t in g.initializers if t.name == name)
        value = np.frombuffer(tensor.raw_data, np.float32).reshape(8, 18).copy()
        value[:, 3 * head : 3 * head + 3] *= 1e-3
        tensor.raw_data = value.tobytes()
    q, k, v = (g.split(g.node("MatMul", [x, w]), [3] * 6, axis=2) for w in weights)
    heads = []
    for i in range(6):
        scores = g.node("MatMul", [q[i], g.node("Transpose", [k[i]], perm=[0, 2, 1])])
        heads.append(g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v[i]]))
    y = g.node("MatMul", [g.node("Concat", heads, axis=2), g.normal(18, 5)])
    proto = g.model(y)
    local = spa.Limits(scope="local")
    result = spa.prune(spa.load(proto), ratio=ratio, limits=local, best_effort=True)
    assert_equals_zeroed(proto, result.model, json.loads(json.dumps(result.plan.to_json())))
    gone = {entry["name"]: entry["removed"] for entry in result.plan.to_json()["parameters"]}
    for name in weights:
        assert gone[name]
        assert set(np.delete(np.arange(18), gone[name]) // 3) == set(range(6))


# --- random programs ------------------------------------------------------------------------------


def program(seed: int):
    """A hypernetwork: tables of kernels and gains, picked every way, used in a random chain."""
    g = Builder(seed=seed)
    rng = np.random.default_rng(seed)

    def some(*values):
        return values[int(rng.integers(len(values)))]

    parts, width = int(rng.integers(2, 7)), int(rng.integers(3, 7))
    axis = int(rng.integers(1, 4))
    table = kernels(g, parts, width, width, axis)
    if rng.random() < 0.4:
        table = g.node(some("Relu", "Sigmoid", "Tanh"), [table])
    gains = g.reshape(g.gemm("condition", 5, parts * width), [-1, parts, width])
    free = rng.random() < 0.7  # whether layers lie between the kernels, so that channels are free
    h = g.gemm(g.input(4), 4, width)
    others = []
    for _ in range(int(rng.integers(1, 4))):
        kernel = some(*WAYS)(g, table, axis, int(rng.integers(parts)), parts)
        if rng.random() < 0.3:
            kernel = g.node("Transpose", [kernel], perm=[0, 2, 1])
        if free:
            h = g.gemm(h, width, width)
        before = h
        h = multiplied(g, h, kernel)
        kind = some("none", "add", "gain", "relu", "two", "concat", "scatter")
        if kind == "add":
            h = g.node("Add", [h, before])
        elif kind == "gain":
            gain = g.node("Gather", [gains, g.ints(int(rng.integers(parts)))], axis=1)
            h = g.node("Mul", [h, gain])
        elif kind == "relu":
            h = g.node("Relu", [h])
        elif kind == "two":  # several parts at once, folded
            chosen = rng.permutation(parts)[: int(rng.integers(1, parts + 1))].tolist()
            both = g.node("Gather", [gains, g.ints(chosen)], axis=1)
            h = g.node("Mul", [h, g.reduce("ReduceSum", both, [1], keepdims=0)])
        elif kind == "concat":
            part = g.node("Gather", [gains, g.ints(int(rng.integers(parts)))], axis=1)
            h = g.gemm(g.node("Concat", [h, part], axis=1), 2 * width, width)
        elif kind == "scatter":  # a part is written anew, and read again
            place = int(rng.integers(parts))
            turned = g.node("Transpose", [gains], perm=[1, 0, 2])
            update = g.unsqueeze(h, [0])
            gains = g.node("ScatterND", [turned, g.ints([[place]]), update])
            gains = g.node("Transpose", [gains], perm=[1, 0, 2])
            h = g.node("Gather", [gains, g.ints(int(rng.integers(parts)))], axis=1)
        if rng.random() < 0.2:
            others.append(g.gemm(h, width, 2))
    return g.model(g.gemm(h, width, 3), *others)


@pytest.mark.parametrize("shard", range(6))
def test_random_programs_of_parts_equal_the_zeroed_dense_ones(shard):
    pruned = 0
    for seed in range(shard, 90, 6):
        proto = program(seed)
        ratio = (0.3, 0.5, 0.9)[seed % 3]
        result = spa.prune(
            spa.load(proto),
            criterion="random",
            ratio=ratio,
            limits=spa.Limits(scope="local"),
            seed=seed,
            best_effort=True,  # one of each is left, which is less than 0.9 of narrow groups
        )
        if result.plan.parameters and result.plan.exact:
            pruned += 1
            assert_equals_zeroed(
                proto, result.model, json.loads(json.dumps(result.plan.to_json())),
                batches=(1, 3, 5), tolerance=2e-5,
            )  # fmt: skip
    assert pruned > 5
