"""How long sizes are tried."""

import math

import pytest

from spa.errors import InputError, RunError
from spa.graph import execute, load
from spa.graph.load import load_file
from spa.graph.observe import Observer
from tests.graphs import classifier


class Clock:
    """Stands still but for what a run takes."""

    def __init__(self, monkeypatch, seconds_of_a_run, runs_well):
        self.now, self.runs = 0.0, 0
        observe = Observer.run

        def run(observer, feeds):
            self.now += seconds_of_a_run
            self.runs += 1
            if not runs_well(self.runs):
                raise RunError("not at these sizes")
            return observe(observer, feeds)

        monkeypatch.setattr(load.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(Observer, "run", run)


def _with_free_sizes():
    proto = classifier()
    for axis in (0, 2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"d{axis}"
    return proto


@pytest.mark.parametrize("share", [0.4, 0.1])
def test_all_sizes_that_are_tried_take_no_longer_than_one_run_may(monkeypatch, share):
    clock = Clock(monkeypatch, execute.MAX_SECONDS * share, lambda run: False)
    with pytest.raises(InputError, match="none of the example shapes that were tried"):
        load_file(_with_free_sizes())
    assert clock.runs == math.ceil(1 / share)


def test_so_do_all_of_the_second_run(monkeypatch):
    clock = Clock(monkeypatch, execute.MAX_SECONDS * 0.3, lambda run: run == 1)
    model = load_file(_with_free_sizes())
    assert clock.runs == 1 + 4
    assert model.graph.nodes
