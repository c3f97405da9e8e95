"""Who works on a folder: never two, and never nobody for long."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.runs import lease
from spa.errors import OutputError

ROOT = Path(__file__).resolve().parents[2]
# Takes the lease if it can, says so, and keeps it until it is killed.
HOLDER = """
import sys, time
from pathlib import Path
from experiments.runs import lease
try:
    with lease.hold(Path(sys.argv[1])):
        print("mine", flush=True)
        time.sleep(60)
except lease.Taken:
    print("taken", flush=True)
"""


def contender(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def written(folder: Path, **changes: object) -> None:
    """Changes the lease that lies in a folder."""
    path = folder / "lease.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_it_is_there_while_the_body_runs(tmp_path):
    folder = tmp_path / "run"
    with lease.hold(folder) as mine:
        assert lease.holder(folder) == f"process {os.getpid()} on {os.uname().nodename}"
        mine.check()
        with pytest.raises(lease.Taken, match=rf"process {os.getpid()} on"), lease.hold(folder):
            pass
    assert lease.holder(folder) is None
    with lease.hold(folder):
        pass


def test_of_many_at_once_one_has_it(tmp_path):
    crowd = [contender(tmp_path / "run") for _ in range(6)]
    try:
        said = sorted(process.stdout.readline().strip() for process in crowd)
        assert said == ["mine", *["taken"] * 5]
    finally:
        for process in crowd:
            process.kill()


def test_a_killed_process_holds_nothing(tmp_path):
    process = contender(tmp_path)
    assert process.stdout.readline() == "mine\n"
    assert lease.holder(tmp_path) == f"process {process.pid} on {os.uname().nodename}"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lease.holder(tmp_path) is None
    with lease.hold(tmp_path):
        pass


def test_a_process_id_that_came_again_holds_nothing(tmp_path):
    with lease.hold(tmp_path):
        written(tmp_path, began="1")
        assert lease.holder(tmp_path) is None


def test_elsewhere_only_missed_heartbeats_tell(tmp_path):
    with lease.hold(tmp_path):
        written(tmp_path, machine="another", host="node7", pid=1)
        assert lease.holder(tmp_path) == "process 1 on node7"
        late = time.time() - lease.MISSED * lease.HEARTBEAT - 5
        os.utime(tmp_path / "lease.json", (late, late))
        assert lease.holder(tmp_path) is None


def test_a_heartbeat_of_the_future_is_none(tmp_path):
    """A folder that was copied with its times, or a clock that was wrong."""
    with lease.hold(tmp_path):
        written(tmp_path, machine="another", host="node7", pid=1)
        ahead = time.time() + lease.MISSED * lease.HEARTBEAT + 5
        os.utime(tmp_path / "lease.json", (ahead, ahead))
        assert lease.holder(tmp_path) is None
        with lease.hold(tmp_path):
            pass


@pytest.mark.parametrize(
    "changes",
    [{"pid": None, "began": None}, {"pid": "x", "began": None}, {"pid": [], "began": []},
     {"pid": True, "began": "1"}, {"pid": 10**30, "began": "1"}, {"began": 5}],
)  # fmt: skip
def test_a_lease_of_wrong_types_holds_nothing(tmp_path, changes):
    with lease.hold(tmp_path):
        written(tmp_path, **changes)
        assert lease.holder(tmp_path) is None


def test_who_lost_it_is_told_and_leaves_the_other_one_alone(tmp_path):
    with lease.hold(tmp_path) as mine:
        written(tmp_path, token="somebody else's")
        mine.beat()
        with pytest.raises(lease.Lost, match="taken over"):
            mine.check()
    assert json.loads((tmp_path / "lease.json").read_text())["token"] == "somebody else's"


def test_who_slept_finds_out_before_the_next_heartbeat(tmp_path):
    with lease.hold(tmp_path) as mine:
        written(tmp_path, token="somebody else's")
        with pytest.raises(lease.Lost, match="taken over"):
            mine.check()


def test_a_file_system_that_does_not_answer_takes_no_lease_away(tmp_path, monkeypatch):
    def stale(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    with lease.hold(tmp_path) as mine:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", stale)
            mine.beat()
        mine.check()


def test_a_heartbeat_shows(tmp_path):
    with lease.hold(tmp_path) as mine:
        os.utime(tmp_path / "lease.json", (0, 0))
        mine.beat()
        assert time.time() - (tmp_path / "lease.json").stat().st_mtime < 60
        mine.check()


def test_waiting_tells_for_whom_once(tmp_path):
    process = contender(tmp_path)
    assert process.stdout.readline() == "mine\n"
    told = []

    def wait(holder: str) -> None:
        told.append(holder)
        process.kill()
        process.wait()

    with lease.hold(tmp_path, wait=wait):
        assert told == [f"process {process.pid} on {os.uname().nodename}"]


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 99999, '{"pid": NaN}', '"\\ud800"'])
def test_a_torn_lease_is_none(tmp_path, content):
    (tmp_path / "lease.json").write_text(content)
    with lease.hold(tmp_path):
        assert lease.holder(tmp_path)


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputError, match="cannot write in"), lease.hold(tmp_path / "run"):
        pass
