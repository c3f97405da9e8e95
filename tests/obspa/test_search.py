"""Exact losses, against refits; and what a search makes of a selection."""

import itertools

import numpy as np
import pytest

import spa
import spa.obspa
from spa.coupling.couple import Cut
from spa.coupling.groups import find_groups
from spa.graph.execute import run
from spa.observe.gram import damped, strength, sums_of
from spa.observe.store import Store
from spa.obspa.calibration import calibrate
from spa.obspa.reconstruct import reconstruct
from spa.obspa.search import Reader, costs, improved
from spa.obspa.settings import Settings
from spa.obspa.update import refit
from spa.pruning.surgery import cut_model
from tests.graphs import Builder


def readers(seed=0, channels=6, size=2):
    """Two matrices that read the same channels, of ``size`` columns each."""
    rng, store, made = np.random.default_rng(seed), Store(10**9), []
    of = np.repeat(np.arange(channels), size)
    for outputs in (3, 5):
        rows = rng.standard_normal((60, of.size)) @ rng.standard_normal((of.size, of.size))
        sums = sums_of(rows)
        lam = strength(sums.diagonal, 0.01)
        w = rng.standard_normal((outputs, of.size))
        made.append((Reader(w, store.put(damped(sums.hessian(), lam)), of), sums, lam))
    return made


def loss_by_refit(made, gone):
    """The best objective, by refitting."""
    total = 0.0
    for reader, sums, lam in made:
        keep = ~np.isin(reader.of, sorted(gone))
        gap = reader.weight - refit(reader.weight, sums, keep, lam, intercept=False).weight
        total += float(np.sum((gap @ sums.hessian()) * gap) + lam * np.square(gap).sum())
    return total


@pytest.mark.parametrize("gone", [{0}, {1, 4}, {0, 2, 5}])
def test_costs_are_those_of_refits(gone):
    made = readers()
    found = costs([reader for reader, _, _ in made], np.arange(6), gone)
    assert found.loss == pytest.approx(loss_by_refit(made, gone), rel=1e-8)
    for j, cost in found.drop.items():
        assert cost == pytest.approx(loss_by_refit(made, gone | {j}) - found.loss, rel=1e-6)
    for s, gain in found.gain.items():
        assert gain == pytest.approx(found.loss - loss_by_refit(made, gone - {s}), rel=1e-6)


def chain(seed):
    g = Builder(seed=seed)
    x = g.input(3, 6, 6)
    x = g.node("Relu", [g.conv(x, 3, 6)])
    return g.model(g.conv(x, 6, 5, 1), dims=[["N", 5, 6, 6]])


@pytest.fixture(scope="module")
def every_choice():
    """A layer that is small enough to try every choice of two of six channels: errors of refits."""
    x = np.random.default_rng(1).standard_normal((32, 3, 6, 6)).astype(np.float32)
    model = spa.load(chain(2))
    groups = find_groups(model)
    made = calibrate(model, x, Settings())
    (group,) = groups.groups
    settings = Settings(damping=0.01, target_outputs="own")
    errors = {}
    for gone in itertools.combinations(range(6), 2):
        mask = np.zeros(groups.coupling.components.kept.size, dtype=bool)
        mask[group.components[list(gone)]] = True
        cut = Cut(groups.coupling, mask[groups.coupling.components.of])
        rebuilt = reconstruct(model, cut, made, settings)
        smaller = cut_model(model.with_weights(rebuilt.proto), cut)
        (y,), (dense,) = (run(proto, {"x": x}) for proto in (smaller, model.proto))
        errors[gone] = float(np.square(y - dense).mean())
    return model, groups, group, made, errors


@pytest.mark.parametrize("how", [{"swaps": 20}, {"greedy": True}, {"greedy": True, "swaps": 20}])
def test_a_search_finds_the_best_choice(every_choice, how):
    model, groups, group, made, errors = every_choice
    removed = np.zeros(groups.coupling.components.kept.size, dtype=bool)
    removed[group.components[list(max(errors, key=errors.get))]] = True
    better = improved(model, groups, removed, made, Settings(damping=0.01, **how))
    found = tuple(np.flatnonzero(better[group.components]))
    assert len(found) == better.sum() == 2
    ranked = sorted(errors.values())
    # Greedy steps and exchanges of one come near the best, and never stay at the worst.
    assert errors[found] <= ranked[1]


def test_a_search_is_recorded_and_the_target_is_reached():
    results = [
        spa.obspa.prune(
            chain(0), ratio=0.4, calibration="noise", samples=16, selection="random", **how
        )
        for how in ({}, {"swaps": 3})
    ]
    assert results[0].reached == results[1].reached
    assert results[1].proof.equal
    assert results[1].plan.settings["obspa"]["swaps"] == results[1].details["swaps"] == 3
