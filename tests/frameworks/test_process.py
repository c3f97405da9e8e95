"""Workers that crash, hang, refuse or chatter, in our own Python."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from spa.errors import FrameworkError
from spa.frameworks import process, standby
from spa.frameworks.environments import Environment

COMMON = Path(process.WORKERS)


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Writes the worker of a framework called ``toy``, which runs in our own environment."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "common.py").write_text((COMMON / "common.py").read_text())
    monkeypatch.setattr(process, "WORKERS", tmp_path)
    monkeypatch.setattr(process, "required", lambda name: Environment(name, tmp_path))

    def write(body):
        text = f"from common import *\ndef do(orders):\n    {body}\nmain(do)\n"
        (tmp_path / "toy_worker.py").write_text(text)

    return write


def test_arrays_and_values_go_there_and_come_back(worker):
    worker("tell(note=1); orders.send('y', orders.array('x') * orders.spec['by']); return {'a': 2}")
    heard = []
    x = np.arange(6.0).reshape(2, 3)
    reply = process.call("toy", "do", {"by": 3}, {"x": x}, listen=heard.append)
    np.testing.assert_array_equal(reply.arrays["y"], 3 * x)
    assert reply.report == {"a": 2}
    assert heard == [{"note": 1}]


def test_what_else_a_worker_prints_is_no_message(worker):
    worker("print('WARNING: 3 of 4'); print('[1, 2]'); print('7')")
    heard = []
    process.call("toy", "do", {}, listen=heard.append)
    assert heard == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('such and such')", "exit code 1.*such and such"),
        ("raise Refusal('it has no weights')", "exit code 1. Its last lines: it has no weights$"),
        ("os.kill(os.getpid(), 9)", "exit code -9"),
        ("import no_such_framework", "No module named 'no_such_framework'"),
    ],
)
def test_a_worker_that_fails_is_one_error_with_its_last_words(worker, body, words):
    worker(body)
    with pytest.raises(FrameworkError, match=rf"toy's worker \(do\) failed with {words}|{words}"):
        process.call("toy", "do", {})


def test_a_worker_that_falls_silent_is_ended(worker):
    worker("tell(a=1); time.sleep(600)")
    with pytest.raises(FrameworkError, match="said nothing for 1 s and was ended"):
        process.call("toy", "do", {}, patience=1)


def test_a_listener_s_error_ends_the_worker(worker):
    worker("tell(a=1); time.sleep(600)")

    def listen(message):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        process.call("toy", "do", {}, listen=listen)


def test_a_worker_is_imported_once_and_calls_do_not_meet(worker, monkeypatch, tmp_path):
    worker("before = list(ALLOWED); ALLOWED.add('x'); os.environ['Y'] = 'y'; "
           "return {'from': os.getpid(), 'by': os.getppid(), 'before': before, "
           "'Y': os.environ.get('Y'), 'at': os.getcwd(), 'drawn': int(np.random.randint(2**31))}"
    )  # fmt: skip
    monkeypatch.delenv("Y", raising=False)
    first = process.call("toy", "do", {}).report
    monkeypatch.chdir(tmp_path)
    second = process.call("toy", "do", {}).report
    assert first["by"] == second["by"]
    assert first["from"] != second["from"]
    assert first["drawn"] != second["drawn"]
    assert second["before"] == []
    assert Path(second["at"]) == tmp_path
    # What it was imported under may matter to a framework.
    monkeypatch.setenv("XLA_FLAGS", "--some")
    third = process.call("toy", "do", {}).report
    assert third["by"] != first["by"]
    with pytest.raises(ProcessLookupError):
        os.kill(first["by"], 0)


def test_a_worker_without_calls_ends_and_the_next_call_starts_another(worker, tmp_path):
    common = tmp_path / "common.py"
    common.write_text(common.read_text().replace("IDLE_SECONDS = 600.0", "IDLE_SECONDS = 0.1"))
    worker("return {'by': os.getppid()}")
    first = process.call("toy", "do", {}).report["by"]
    _, standing = standby._IDLE["toy"]
    standing._process.wait(30)
    assert process.call("toy", "do", {}).report["by"] != first


def test_a_call_under_a_large_environment(worker, monkeypatch):
    for number in range(8):
        monkeypatch.setenv(f"LARGE_{number}", "x" * 100_000)
    worker("return {'size': sum(len(os.environ[f'LARGE_{n}']) for n in range(8))}")
    assert process.call("toy", "do", {}).report == {"size": 800_000}


def test_a_worker_that_fails_does_not_take_the_next_call_along(worker):
    worker("os.kill(os.getpid(), 9) if orders.spec['die'] else None; return {'by': os.getppid()}")
    by = process.call("toy", "do", {"die": False}).report
    with pytest.raises(FrameworkError, match="exit code -9"):
        process.call("toy", "do", {"die": True})
    assert process.call("toy", "do", {"die": False}).report == by


def test_a_worker_that_cannot_be_imported_says_why_each_time(worker, tmp_path):
    worker("pass")
    (tmp_path / "toy_worker.py").write_text("import sys\nsys.exit('no such framework here')\n")
    for _ in range(2):
        with pytest.raises(FrameworkError, match="code 1. Its last lines: no such framework here"):
            process.call("toy", "do", {})


def test_a_worker_that_is_not_done_with_its_imports_is_ended_too(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(standby, "_GRACE", 0.1)
    worker("pass")
    (tmp_path / "toy_worker.py").write_text("import time\ntime.sleep(600)\n")
    with pytest.raises(FrameworkError, match="said nothing for 1 s and was ended"):
        process.call("toy", "do", {}, patience=1)


CALLER = """
import sys
from pathlib import Path
from spa.frameworks import process
from spa.frameworks.environments import Environment
process.WORKERS = Path(sys.argv[1])
process.required = lambda name: Environment(name, process.WORKERS)
process.call("toy", "do", {}, listen=lambda told: print(told["me"], told["by"], flush=True))
"""


def test_a_caller_that_is_killed_takes_its_worker_and_the_call_along(worker, tmp_path):
    worker("tell(me=os.getpid(), by=os.getppid()); time.sleep(600)")
    command = [sys.executable, "-c", CALLER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as caller:
        numbers = [int(text) for text in caller.stdout.readline().split()]
        caller.kill()
    for number in numbers:
        for _ in range(500):
            if not Path(f"/proc/{number}").exists() or is_zombie(number):
                break
            time.sleep(0.02)
        else:
            pytest.fail(f"{number} goes on")


def is_zombie(number):
    """Whether a process has ended, and nobody asked how."""
    try:
        return ") Z " in Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return True


NET = """
import json
import neighbour, common
def net(size, input_shape):
    return [size, input_shape[0], neighbour.NAME, common.NAME, json.dumps(1)]
def plain(size): return [size]
"""
BUILT = (
    "f = builder(orders.spec['builder']);"
    "return {'net': f(**taken(f, {'size': 1}, input_shape=[2]))}"
)


@pytest.mark.parametrize(
    ("function", "made"), [("net", [1, 2, "neighbour", "theirs", "1"]), ("plain", [1])]
)
def test_a_file_with_the_name_of_a_package_builds(worker, tmp_path, function, made):
    worker(BUILT)
    folder = tmp_path / "nets"
    folder.mkdir()
    (folder / "json.py").write_text(NET)  # it imports the json that everybody knows
    (folder / "neighbour.py").write_text("NAME = 'neighbour'")
    (folder / "common.py").write_text("NAME = 'theirs'")  # the worker has one too
    spec = {"builder": f"{folder}/json.py:{function}"}
    assert process.call("toy", "do", spec).report == {"net": made}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros(2)}, r'lacks "b/c" and 1 more'),
        ({"a": 1, "b/c": 2, "d": 3, "e": 4}, r'has, and the network does not, "e"'),
        (
            {"a": np.zeros(2), "b/c": np.zeros((3, 1)), "d": 1},
            r'"b/c" has shape \(3, 1\) in .*\(3,\)',
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(worker, tmp_path, arrays, words):
    worker("fitting(orders.spec['weights'], {'a': [2], 'b/c': [3], 'd': []})")
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(FrameworkError, match=words):
        process.call("toy", "do", {"weights": str(tmp_path / "w.npz")})
