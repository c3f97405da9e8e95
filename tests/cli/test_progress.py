"""Progress: quiet for quick work, plain lines in logs, one rewritten line on a terminal."""

import sys

import pytest

from spa import progress
from spa.progress import Progress, stage


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    return advance


def work(clock, seconds, steps=100):
    with Progress("Working", total=steps) as shown:
        for _ in range(steps):
            clock(seconds / steps)
            shown.advance(note="busy")


def test_quick_work_is_quiet(clock, capsys):
    work(clock, 1.9)
    with stage("Loading"):
        pass
    assert capsys.readouterr() == ("", "")


def test_slow_work_shows_a_line_now_and_then(clock, capsys):
    work(clock, 60)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert 4 <= len(lines) <= 7
    assert lines[0].startswith("Working: ")
    assert lines[0].endswith("/100, 2 s busy")


def test_a_terminal_sees_one_line_and_then_none(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    work(clock, 10)
    err = capsys.readouterr().err
    assert "\n" not in err
    assert err.endswith("\r\033[K")


def test_a_slow_stage_says_what_it_does(monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.05)
    with stage("Loading model.onnx"):
        progress.time.sleep(0.3)
    assert capsys.readouterr() == ("", "Loading model.onnx ...\n")
