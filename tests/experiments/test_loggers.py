"""What wandb wrote offline is read back and is what the run's files hold; nothing fails a run."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import pickle
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import loggers, run
from experiments.loggers import content
from experiments.loggers.careful import Careful
from tests.experiments.conftest import ROOT
from tests.experiments.wandb_files import Offline, newest
from tests.experiments.wandb_server import served

STAGES = ("dense", "prune", "finetune")
ROW = {"stage": "dense", "epoch": 1, "loss": 0.5, "accuracy": 0.25, "lr": 0.1, "seconds": 2.0}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No key of the developer's, offline, and a wandb of this test's own."""
    import wandb

    wandb.teardown()  # before its variables are put away: it has some of its own
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    wandb.teardown()


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one real run with a negative seed."""
    results = tmp_path_factory.mktemp("results")
    launch(results)
    (folder,) = results.glob("runs/adhoc/*/seed_-5")
    return folder


def launch(results: Path) -> None:
    """Run the command in this process."""
    line = [
        "experiments.run",
        "seed=-5",
        "trainer=smoke",
        "logger=wandb",
        f"results_dir={results}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", line)
        patch.setenv("WANDB_MODE", "offline")
        run.main()
        ends_wandb()


@pytest.fixture
def opened(parsed, tmp_path) -> Callable[..., tuple[Any, Path]]:
    """Open a logger in a run's folder; further tries get the same one."""

    def make(*overrides: str) -> tuple[Any, Path]:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        return loggers.make(parsed("logger=wandb", "seed=3", *overrides), folder), folder

    return make


def ends_wandb() -> None:
    import wandb

    wandb.teardown()


def online(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name, value in {"BASE_URL": url, "API_KEY": "0" * 40, "MODE": "online"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


@pytest.mark.slow
def test_each_stage_is_a_run_of_its_own(mirrored):
    result = read(mirrored / "result.json")
    for stage in STAGES:
        kept = newest(mirrored, stage)
        assert kept.run.run_id == f"{result['run_id']}-minus-5-{stage}"
        assert (kept.run.run_group, kept.run.job_type) == ("adhoc", stage)
        assert kept.run.project == "spa"
        assert kept.metrics[f"{stage}/*"] == f"{stage}/epoch"
        assert kept.exit_code == 0
        assert kept.config.items() >= result["config"].items()
        same = ("run_id", "experiment", "seed", "hardware", "code")
        assert {key: kept.config[key] for key in same} == {key: result[key] for key in same}
        assert kept.config["device"] == "auto"


@pytest.mark.slow
def test_the_history_is_metrics_jsonl(mirrored):
    rows: dict[str, list[dict[str, float]]] = {stage: [] for stage in STAGES}
    for line in (mirrored / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        stage = row.pop("stage")
        del row["at"]
        if stage in STAGES:
            rows[stage].append({f"{stage}/{key}": value for key, value in row.items()})
        else:
            where = {"test dense": "dense", "test pruned": "prune", "test finetuned": "finetune"}
            rows[where[stage]].append({"test/accuracy": row["accuracy"]})
    for stage in STAGES:
        assert newest(mirrored, stage).rows() == rows[stage]
    assert len(rows["dense"]) == 7  # six epochs and the test
    assert len(rows["finetune"]) > 1
    assert rows["dense"][0].keys() == {
        f"dense/{key}" for key in ("epoch", "loss", "accuracy", "lr", "seconds")
    }


@pytest.mark.slow
def test_the_tables_are_the_result(mirrored):
    result = read(mirrored / "result.json")
    kept = newest(mirrored, "prune")
    columns, rows = kept.table("tables/accuracy")
    assert columns == ["stage", "accuracy"]
    assert dict(rows) == {stage: found["acc"] for stage, found in result["metrics"].items()}
    columns, rows = kept.table("tables/flops")
    assert columns == ["quantity", "dense", "pruned", "dense / pruned", "asked"]
    macs, params, reached = result["macs"], result["params"], result["reached"]
    assert rows == [
        ["MACs", macs["dense"], macs["pruned"], reached["rf"], None],
        ["FLOPs", 2 * macs["dense"], 2 * macs["pruned"], reached["rf"], 2.0],
        ["parameters", params["dense"], params["pruned"], reached["rp"], None],
    ]
    columns, rows = kept.table("tables/widths")
    assert [dict(zip(("name", *columns[1:]), row, strict=True)) for row in rows] == result["widths"]


@pytest.mark.slow
def test_models_and_plan_are_artifacts_that_outlast_the_next_try(mirrored):
    files = {
        "prune": [("plan", "plan.json", "plan"), ("pruned", "pruned.onnx", "model")],
        "finetune": [("finetuned", "finetuned.onnx", "model")],
    }
    run_id = read(mirrored / "result.json")["run_id"]
    for stage, expected in files.items():
        kept = newest(mirrored, stage).artifacts
        kept = {name: a for name, a in kept.items() if a.type != "run_table"}
        assert kept.keys() == {f"{name}-{run_id}-minus-5" for name, _, _ in expected}
        for name, file, kind in expected:
            artifact = kept[f"{name}-{run_id}-minus-5"]
            (entry,) = artifact.manifest.contents
            data = (mirrored / file).read_bytes()
            assert (artifact.type, entry.path, entry.size) == (kind, file, len(data))
            assert entry.digest == base64.b64encode(hashlib.md5(data).digest()).decode()
            copy = Path(entry.local_path)
            assert copy.is_relative_to(mirrored / "wandb")
            assert copy.read_bytes() == data


@pytest.mark.slow
def test_the_figures_are_pictures(mirrored):
    from PIL import Image

    kept = newest(mirrored, "prune")
    for name in ("accuracy_by_stage", "widths"):
        about = kept.media(f"figures/{name}")
        with Image.open(kept.folder / "files" / about["path"]) as picture:
            assert picture.size == (about["width"], about["height"])
            assert picture.convert("L").getextrema() != (255, 255)  # something is drawn


@pytest.mark.slow
def test_the_last_stage_sums_up_the_whole_result(mirrored):
    result = read(mirrored / "result.json")
    summary = newest(mirrored, "finetune").summary
    assert {key: summary[key] for key in result} == result
    assert "reached" not in newest(mirrored, "prune").summary


@pytest.mark.slow
def test_no_user_host_or_path_is_told(mirrored):
    for stage in STAGES:
        kept = newest(mirrored, stage)
        assert not kept.run.host
        assert not kept.run.HasField("git")
        assert {p.name for p in (kept.folder / "files").iterdir()} <= {"requirements.txt", "media"}
        assert str(mirrored).encode() not in kept.run.SerializeToString()


@pytest.mark.slow
def test_a_run_that_is_launched_again_keeps_what_was_kept(mirrored):
    rows = {stage: newest(mirrored, stage).rows() for stage in STAGES}
    before = kept_below(mirrored)
    assert len(before) > 3 + 3 + 2  # runs, tables and pictures, and more
    status = read(mirrored / "status.json")
    (mirrored / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    launch(mirrored.parents[3])
    assert kept_below(mirrored).items() > before.items()
    for stage in STAGES:
        tries = list(mirrored.glob(f"wandb/offline-run-*-{stage}"))
        assert len(tries) == 2
        assert newest(mirrored, stage).rows() == rows[stage]


def kept_below(folder: Path) -> dict[Path, bytes]:
    """What can be uploaded of a run: its own files, and copies of its artifacts."""
    where = ("offline-run-*/*.wandb", "offline-run-*/files/**/*", "artifacts/**/*")
    found = (path for pattern in where for path in folder.glob(f"wandb/{pattern}"))
    return {path: path.read_bytes() for path in found if path.is_file()}


def test_without_fine_tuning_the_pruning_is_last(opened, made_result):
    logger, folder = opened("time=train_prune", "target.ratio=0.5")
    logger.metrics({"stage": "test pruned", "accuracy": 0.5})
    logger.metrics({"stage": "test finetuned", "accuracy": None})
    acc = {"dense": 0.99, "pruned": 0.5, "finetuned": None}
    result = made_result(acc=acc, asked={"ratio": 0.5}, widths=[])
    logger.finish(result)
    assert not list(folder.glob("wandb/offline-run-*-finetune"))
    kept = newest(folder, "prune")
    assert {key: kept.summary[key] for key in result} == result
    assert kept.table("tables/accuracy")[1] == [[k, v] for k, v in acc.items()]
    assert kept.table("tables/flops")[1][-1][-1] == 0.5
    assert not kept.rows()[0].keys() - {"test/accuracy"}


def test_every_try_is_kept_offline_and_whole(opened):
    for epochs in (1, 2):
        logger, folder = opened()
        for epoch in range(1, epochs + 1):
            logger.metrics({**ROW, "epoch": epoch})
        logger.abandon()  # the process ends
    first, second = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    assert first.name == second.name
    assert [row["dense/epoch"] for row in Offline(first).rows()] == [1]
    kept = Offline(second)
    assert [row["dense/epoch"] for row in kept.rows()] == [1, 2]
    assert not kept.run.resume  # it replaces the first when it is uploaded


def test_a_failed_run_is_closed_as_failed(opened):
    logger, folder = opened()
    logger.metrics(ROW)
    logger.finish(None)
    assert newest(folder, "dense").exit_code == 1


def test_numbers_that_are_none_come_through(opened, made_result):
    logger, folder = opened()
    logger.metrics({**ROW, "loss": math.nan})
    logger.finish(made_result())
    (row,) = newest(folder, "dense").rows()
    assert math.isnan(row["dense/loss"])
    assert row["dense/accuracy"] == ROW["accuracy"]


def test_nothing_is_said_or_written_elsewhere(opened, made_result, home, capfd, monkeypatch):
    monkeypatch.chdir(home.parent)
    logger, folder = opened()
    logger.metrics(ROW)
    logger.finish(made_result())
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in folder.iterdir()} == {"wandb"}
    assert not list(home.glob("**/*wandb*"))
    assert {path.name for path in home.parent.iterdir()} <= {"run", "home"}
    assert os.environ["WANDB_MODE"] == "offline"
    wandb_sets_itself = {"WANDB_MODE", "WANDB_SERVICE"}
    assert {name for name in os.environ if name.startswith("WANDB_")} <= wandb_sets_itself


def test_a_wandb_that_crashes_is_one_line_and_the_next_run_has_another(
    opened, made_result, tmp_path, capfd
):
    logger, folder = opened()
    logger.metrics(ROW)
    for pid in service_processes():
        os.kill(pid, signal.SIGKILL)
    for epoch in range(2, 500):  # what is sent before the connection breaks is not missed
        logger.metrics({**ROW, "epoch": epoch})
    logger.finish(made_result())
    said = capfd.readouterr().err
    assert said.startswith("logger switched off: ")
    assert said.count("\n") == 1

    logger, folder = opened("seed=4")
    logger.metrics(ROW)
    logger.finish(made_result())
    assert capfd.readouterr().err == ""
    (path,) = folder.glob("wandb/offline-run-*/run-*-4-dense.wandb")
    assert len(Offline(path).rows()) == 1


def service_processes() -> list[int]:
    """The wandb-core processes of this process."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:  # it ended meanwhile
            continue
        if int(lines["PPid"]) == os.getpid() and lines["Name"].strip() == "wandb-core":
            found.append(int(status.parent.name))
    assert found
    return found


def test_wandb_that_is_not_installed_is_one_line(opened, made_result, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    logger, folder = opened()
    logger.metrics(ROW)
    logger.finish(made_result())
    said = capsys.readouterr().err
    assert said.startswith(
        "logger switched off: logger=wandb needs wandb, which is not installed; "
        "install it with: pip install "
    )
    assert said.endswith('[wandb]"\n')
    assert said.count("\n") == 1
    assert not list(folder.iterdir())


def test_a_mode_that_is_none_is_one_line(opened, capsys):
    opened("logger.mode=onlien")
    said = capsys.readouterr().err
    assert said == (
        "logger switched off: logger.mode is one of online, offline, disabled, but is 'onlien'\n"
    )


def test_disabled_writes_nothing(opened, made_result, capfd):
    logger, folder = opened("logger.mode=disabled")
    logger.metrics(ROW)
    logger.finish(made_result())
    assert capfd.readouterr() == ("", "")
    assert not list(folder.glob("**/*.wandb"))


def test_online_a_try_that_goes_on_sends_what_is_new_and_another_replaces_it(opened, monkeypatch):
    with served() as (server, url):
        online(monkeypatch, url)

        def told(losses: dict[int, float]) -> dict[int, float]:
            """What the server has after a try; the loss by the epoch."""
            logger, _ = opened()
            for epoch, loss in losses.items():
                logger.metrics({**ROW, "epoch": epoch, "loss": loss})
            logger.finish(None)
            ends_wandb()
            (rows,) = server.history.values()
            assert [row["_step"] for row in rows] == list(range(len(rows)))
            return {row["dense/epoch"]: row["dense/loss"] for row in rows}

        assert told({1: 0.5, 2: 0.25}) == {1: 0.5, 2: 0.25}
        assert server.received == 2
        _, folder = opened()
        (folder / "dense.onnx").touch()
        assert told({1: 0.5, 2: 0.25, 3: 0.125}) == {1: 0.5, 2: 0.25, 3: 0.125}
        assert server.received == 3
        (folder / "dense.onnx").unlink()
        assert told({1: 0.75, 2: 0.5, 3: 0.25}) == {1: 0.75, 2: 0.5, 3: 0.25}
        ((name, about),) = server.about.items()
        assert name.endswith("-3-dense")
        assert about.items() >= {"groupName": "adhoc", "jobType": "dense"}.items()


def test_a_network_that_goes_away_is_waited_for_only_so_long(opened, monkeypatch, capfd):
    monkeypatch.setattr("experiments.loggers.wandb.FINISH_TIMEOUT", 2)
    with served() as (_, url):
        online(monkeypatch, url)
        logger, folder = opened()
        logger.metrics(ROW)
    logger.metrics({**ROW, "epoch": 2})
    logger.finish(None)
    (path,) = folder.glob("wandb/run-*/run-*.wandb")
    assert [row["dense/epoch"] for row in Offline(path).rows()] == [1, 2]
    sync = f"`wandb sync {folder / 'wandb'}/*run-*` uploads what is kept there"
    said = f"logger=wandb: not everything was uploaded in 2 s. {sync}\n"
    assert capfd.readouterr() == ("", said)


# Another process, as keys are looked for once in each. It may wait three seconds for the network.
DRIVER = """
import pickle, sys
from experiments import loggers
import experiments.loggers.wandb as module
module.INIT_TIMEOUT = 3
settings, folder, result, row = pickle.load(open(sys.argv[1], "rb"))
logger = loggers.make(settings, folder)
logger.metrics(row)
logger.finish(result)
print("the run went on")
"""


@pytest.fixture
def driven(parsed, made_result, tmp_path, home):
    """Drive a logger in another process on a terminal; returns its lines."""

    def call(*overrides: str, **environment: str) -> tuple[list[str], Path]:
        folder = tmp_path / "run"
        folder.mkdir()
        what = (parsed("logger=wandb", *overrides), folder, made_result(), ROW)
        (tmp_path / "what.pickle").write_bytes(pickle.dumps(what))
        env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        env |= {"PYTHONPATH": str(ROOT), **environment}
        ours, theirs = pty.openpty()
        with os.fdopen(theirs, "wb") as terminal:
            done = subprocess.run(
                [sys.executable, "-c", DRIVER, str(tmp_path / "what.pickle")],
                **{"stdin": terminal, "stderr": terminal, "stdout": subprocess.PIPE},
                **{"env": env, "cwd": tmp_path, "timeout": 120},  # it would wait for ever
            )
        with os.fdopen(ours, "rb", 0) as screen:
            said = everything(screen)
        assert (done.returncode, done.stdout) == (0, b"the run went on\n")
        return said.decode().splitlines(), folder

    return call


def everything(screen: Any) -> bytes:
    """Read a terminal until it ends, which Linux says with an error."""
    said = b""
    while True:
        try:
            more = screen.read(65536)
        except OSError:
            return said
        if not more:
            return said
        said += more


@pytest.mark.slow
@pytest.mark.parametrize("given", [(), ("logger.mode=online",)])
def test_without_a_key_it_is_offline_and_does_not_ask(driven, given):
    (line,), folder = driven(*given)
    assert line.startswith("logger=wandb: offline, as there is no key")
    assert newest(folder, "dense").rows()[0]["dense/loss"] == ROW["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("given", [(), ("logger.mode=online",)])
def test_without_a_network_it_is_offline(driven, given):
    key = "0" * 40
    (line,), folder = driven(*given, WANDB_API_KEY=key, WANDB_BASE_URL="http://127.0.0.1:9")
    assert line.startswith("logger=wandb: offline, as ")
    assert "127.0.0.1:9" in line
    assert newest(folder, "dense").rows()[0]["dense/loss"] == ROW["loss"]
    assert newest(folder, "prune").exit_code == 0


@pytest.mark.slow
def test_a_key_that_cannot_be_one_is_offline(driven):
    (line,), folder = driven(WANDB_API_KEY="short")
    assert line.startswith("logger=wandb: offline, as ")
    assert newest(folder, "dense").exit_code == 0


def test_careful_says_one_line_and_is_silent_from_then_on(capsys):
    class Broken:
        calls = 0
        abandoned = 0

        def metrics(self, row: dict[str, Any]) -> None:
            self.calls += 1
            raise ConnectionError("no\n  network")

        def finish(self, result: Any) -> None:
            self.calls += 1

        def abandon(self) -> None:
            self.abandoned += 1
            raise ConnectionError("again")

    inner = Broken()
    logger = Careful(lambda: inner)
    logger.metrics(ROW)
    logger.metrics(ROW)
    logger.finish(None)
    assert (inner.calls, inner.abandoned) == (1, 1)
    assert capsys.readouterr().err == "logger switched off: ConnectionError: no network\n"


def test_names_are_legal_for_any_seed(parsed):
    keys = {content.key(parsed(f"seed={seed}")) for seed in (5, -5, 0)}
    assert len(keys) == 3
    assert all("--" not in key and key.replace("-", "").isalnum() for key in keys)
