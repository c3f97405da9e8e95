"""The hunt counts, records what fails and goes on, and does no chunk twice."""

from __future__ import annotations

import csv

import pytest

from tests import hunt


def test_a_chunk_is_counted_and_drawn_the_same_again(tmp_path):
    first, again = (hunt.run_chunk(3, 2, str(tmp_path)) for _ in range(2))
    assert first["graphs"] == 2
    assert first["plans"] >= 2
    assert first["channels"] > 0  # every fourth chunk is perturbed
    assert first["failures"] == []
    assert first["hashes"] == again["hashes"]
    assert first["operators"] == again["operators"]


def test_what_fails_is_saved_and_the_chunk_goes_on(tmp_path, monkeypatch):
    def fails_once(drawn):
        monkeypatch.setattr(hunt, "check", lambda drawn: {"plans": 1})
        raise ValueError("wrong")

    monkeypatch.setattr(hunt, "check", fails_once)
    record = hunt.run_chunk(0, 2, str(tmp_path))
    (failure,) = record["failures"]
    assert failure["error"] == "ValueError: wrong"
    assert failure["kind"] == "wrong"
    assert failure["drawn"].startswith("Drawn(")
    assert [path.name for path in tmp_path.iterdir()] == [f"{failure['graph']}.onnx"]
    assert record["graphs"] == 2
    assert record["plans"] == 1


@pytest.mark.parametrize("failures", [0, 1])
def test_a_hunt_goes_on_where_it_was_and_ends_in_one_line(tmp_path, monkeypatch, failures):
    ran = []

    def instead(todo, processes, folder):
        for chunk in todo:
            if len(ran) == 1 and not (folder / "stopped").exists():
                (folder / "stopped").touch()
                raise KeyboardInterrupt
            ran.append(chunk)
            error = f'RunError: Tensor "t{chunk}" is {chunk} off (at 2x3).'
            failed = [{"graph": "g", "kind": "refused", "error": error, "where": "w"}] * failures
            yield {"chunk": chunk, **dict.fromkeys(hunt.COUNTED, 50), "hashes": [str(chunk)],
                   "operators": {"Conv": 1}, "failures": failed, "seconds": 1.0}  # fmt: skip

    monkeypatch.setattr(hunt, "_run_all", instead)
    arguments = ["--graphs", "150", "--seed", "7", "--state", str(tmp_path / "state")]
    arguments += ["--results", str(tmp_path / "hunts.csv")]
    with pytest.raises(KeyboardInterrupt):
        hunt.main(arguments)
    assert not (tmp_path / "hunts.csv").exists()
    assert hunt.main(arguments) == failures
    assert ran == [7, 8, 9]
    (line,) = csv.DictReader((tmp_path / "hunts.csv").open())
    assert (line["graphs"], line["distinct"], line["seed"]) == ("150", "3", "7")
    assert line["failures"] == line["refused"] == str(3 * failures)
    assert line["wrong"] == "0"
    assert line["refusals"] == ("RunError: Tensor .. is .. off .. (3)" if failures else "")
