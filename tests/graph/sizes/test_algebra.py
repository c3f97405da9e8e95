"""The algebra of sizes: what is equal for all inputs, and what is not told."""

import random

import pytest

from spa.graph.sizes.algebra import Algebra, Symbol


@pytest.fixture
def algebra():
    return Algebra()


def test_sums_products_and_quotients_have_one_form(algebra):
    n, t = Symbol("N"), Symbol("T")
    tokens = algebra.product([n, t, 64])
    assert algebra.quotient([tokens], [n, 64]) is t
    assert algebra.quotient([n, t, 12, 64], [n, 12, t]) == 64
    assert algebra.minus(algebra.plus(t, 3), 3) is t
    assert algebra.same(algebra.times(2, algebra.plus(t, 1)), algebra.plus(algebra.plus(t, t), 2))
    assert algebra.over(algebra.plus(algebra.times(2, t), 2), 2) == algebra.plus(t, 1)


def test_two_symbols_of_one_name_are_two(algebra):
    a, b = Symbol("T"), Symbol("T")
    assert not algebra.same(a, b)
    assert algebra.minus(a, b) != 0


def test_an_operator_on_the_same_sizes_gives_the_same(algebra):
    t, s = Symbol("T"), Symbol("S")
    assert algebra.call("min", t, 8) is algebra.call("min", t, 8)
    assert not algebra.same(algebra.call("min", t, 8), algebra.call("min", s, 8))
    assert not algebra.same(algebra.call("min", t, 8), 8)


def test_a_division_of_integers_cuts_off(algebra):
    t = Symbol("T")
    assert (algebra.divided(7, 2), algebra.divided(-7, 2), algebra.divided(-8, 2)) == (3, -3, -4)
    half = algebra.divided(t, 2)
    assert not algebra.same(algebra.times(half, 2), t)  # T may be odd
    assert algebra.same(algebra.divided(algebra.times(t, 6), 3), algebra.times(t, 2))
    assert algebra.sign(half, -1) == 1
    assert algebra.sign(half, 0) is None


def test_a_division_by_zero_is_no_number(algebra):
    assert isinstance(algebra.over(Symbol("T"), 0), Symbol)
    assert isinstance(algebra.divided(4, 0), Symbol)


def test_broadcasting(algebra):
    n, t = Symbol("N"), Symbol("T")
    assert algebra.broadcast(1, t) is t
    assert algebra.broadcast(t, 7) == 7  # T is 7 or 1 wherever it runs
    assert algebra.broadcast(n, n) is n
    assert not any(algebra.same(algebra.broadcast(n, t), one) for one in (n, t))
    # A table cut off at T is as long as T, or nothing runs; one of 1 stands for all.
    assert algebra.broadcast(t, algebra.call("min", 512, t)) is t


def test_what_is_learnt_holds_wherever_it_stands(algebra):
    k = algebra.call("size", 3, 0, 1)
    both = algebra.times(k, Symbol("N"))
    algebra.learn(k, 64)
    assert algebra.resolved(k) == 64
    assert algebra.same(
        algebra.quotient([both], [64]), algebra.resolved(algebra.quotient([both], [k]))
    )


def test_long_expressions_become_symbols(algebra):
    total = Symbol("s0")
    for i in range(1, 200):
        total = algebra.plus(algebra.times(total, Symbol(f"s{i}")), i)
    assert isinstance(total, Symbol) or total.count_ops() <= 60


@pytest.mark.parametrize("seed", range(10))
def test_what_is_called_equal_is_equal_for_all_numbers(algebra, seed):
    """Random expressions, worked out in two ways: by the algebra, and with numbers."""
    draw = random.Random(seed)
    symbols = [Symbol(name) for name in "NTHW"]
    values = [{s: draw.randint(1, 60) for s in symbols} for _ in range(6)]
    made = [(s, [v[s] for v in values]) for s in symbols] + [(k, [k] * 6) for k in (1, 2, 3, 7)]
    ways = {
        "plus": lambda a, b: a + b, "times": lambda a, b: a * b, "minus": lambda a, b: a - b,
        "divided": lambda a, b: int(abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1),
    }  # fmt: skip
    for _ in range(25):
        way, ((a, x), (b, y)) = draw.choice(list(ways)), draw.choices(made, k=2)
        if way == "divided" and 0 in y:
            continue
        made.append(
            (getattr(algebra, way)(a, b), [ways[way](p, q) for p, q in zip(x, y, strict=True)])
        )
        (size, numbers) = made[-1]
        if isinstance(size, int):
            assert set(numbers) == {size}
        for other, others in made[:-1]:
            if algebra.same(size, other):
                assert numbers == others
            sign = algebra.sign(size, other)
            if sign is not None:
                assert {(p > q) - (p < q) for p, q in zip(numbers, others, strict=True)} == {sign}
