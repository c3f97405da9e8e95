"""Parts of a user's own: chosen like ours, loaded wherever a run is, told in its record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.config import arguments
from experiments.ground import files
from spa.errors import InputError, SettingError

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
PARTS = {
    "scores.py": """
import numpy as np
from spa.importance.criterion import criterion
from spa.importance.values import Elements
from . import _helper

@criterion(source="own")
def squared(view, how):
    \"\"\"Scores by squares.\"\"\"
    model = view.model
    names = model.counted_parameters
    return Elements({n: _helper.power(model.numbers(n)) for n in names})
""",
    "_helper.py": "import numpy as np\n\ndef power(x):\n    return np.abs(x) ** 2\n",
    "deeper/nets.py": """
import math
from torch import nn
from experiments.models import MODELS

@MODELS.register("two_layers")
def two_layers(input_shape, classes):
    \"\"\"Two matrices.\"\"\"
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(input_shape), 16), nn.ReLU(), nn.Linear(16, classes)
    )
""",
    "ways.py": """
import spa
from experiments.methods import Need, NoSettings, Outcome, method

@method(needs=Need.LIMITS, source="own")
def halved(job, how):
    \"\"\"Half of every layer.\"\"\"
    pruned = spa.prune(job.dense, ratio=0.5, limits=job.limits, seed=job.seed)
    return Outcome(pruned.model, pruned.plan, pruned.proof)
""",
    "data.py": """
import numpy as np
from dataclasses import dataclass
from experiments.data.base import ArraySplit, Dataset, dataset
from experiments.tasks import TASKS
from experiments.tasks.classification import Classification

@TASKS.register("guessing")
@dataclass(frozen=True)
class Guessing(Classification):
    \"\"\"As classification.\"\"\"

@dataset("dots")
def dots(options, root, workers):
    \"\"\"Noise.\"\"\"
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=90)
    x = (rng.random((90, 1, 4, 4)) + y[:, None, None, None]).astype(np.float32)
    made = ArraySplit({"input": x}, y)
    return Dataset("dots", made, made, 3, task="guessing")
""",
    "more.py": """
from spa.selection.scope import Scope, scope
from spa.training.hooks import Hook, hook

WIDE = scope(Scope("by_width", lambda group: group.channels, 0.9, "groups of one width"))

@hook("nothing_much")
class NothingMuch(Hook):
    \"\"\"Does nothing.\"\"\"
""",
}


@pytest.fixture
def mine(tmp_path) -> Path:
    for name, text in PARTS.items():
        files.write_text(tmp_path / "my parts" / name, text)
    return tmp_path / "my parts"


def harness(module: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the harness in a process of its own: what it loads stays there."""
    clean = {key: value for key, value in os.environ.items() if key != "SPA_PARTS"}
    return subprocess.run(
        [sys.executable, "-m", module, *words], cwd=ROOT, capture_output=True, text=True,
        env={**clean, **environment},
    )  # fmt: skip


QUICK = (
    *("trainer=smoke", "trainer.train.epochs=1", "trainer.finetune.epochs=1"),
    *("latency.repeats=2", "latency.warmup=1", "model=two_layers", "dataset=dots"),
    *("scope=by_width", "criterion=squared"),
)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "manifest"])
def test_a_run_of_ones_own_parts_under_every_launcher(mine, tmp_path, launcher):
    results = tmp_path / "results"
    words = ("-m", "--include", str(mine), *QUICK, f"results_dir={results}", "method=spa,halved")
    done = harness("experiments.run", *words, f"hydra/launcher={launcher}")
    assert done.returncode == 0, done.stderr
    if launcher == "manifest":
        (tasks,) = results.glob("runs/adhoc/tasks-*.jsonl")
        for line in "01":
            done = harness("experiments.sweeps.manifest", "run", str(tasks), line)
            assert done.returncode == 0, done.stderr
    found = [json.loads(path.read_text()) for path in results.glob("runs/*/*/*/result.json")]
    assert sorted(result["method"] for result in found) == ["halved", "spa"]
    names = {f"my parts/{name}" for name in PARTS}
    for result in found:
        assert set(result["code"]["parts"]) == names
        assert result["code"]["parts"]["my parts/ways.py"] == files.sha256(mine / "ways.py")
        assert result["task"] == "guessing"
        assert result["config"]["parts"]["model"] == files.sha256(mine / "deeper/nets.py")
    table = ("--experiment", "adhoc", "--results", str(results), "--print")
    alone = harness("experiments.tables", *table)
    assert alone.returncode == 1
    assert "nobody registered its task" in alone.stderr
    assert harness("experiments.tables", *table, "--include", str(mine)).returncode == 0


def test_another_content_is_another_run(mine, tmp_path):
    """What registered a choice is in the id; what it does not come from is not."""

    def ids() -> dict[str, str]:
        words = ("-m", f"parts=['{mine}']", "hydra/launcher=manifest", "method=spa,halved")
        place = tmp_path / f"results{len(list(tmp_path.iterdir()))}"
        done = harness("experiments.run", *words, f"results_dir={place}")
        assert done.returncode == 0, done.stderr
        (path,) = place.glob("runs/adhoc/manifest.jsonl")
        lines = map(json.loads, path.read_text().splitlines())
        return {line["about"]["method"]: line["run_id"] for line in lines}

    before = ids()
    (mine / "ways.py").write_text(PARTS["ways.py"].replace("ratio=0.5", "ratio=0.25"))
    (mine / "deeper/nets.py").write_text(PARTS["deeper/nets.py"] + "# changed\n")
    after = ids()
    assert before["spa"] == after["spa"]
    assert before["halved"] != after["halved"]


BROKEN = {
    "import no_such_module": "cannot be loaded: ModuleNotFoundError",
    "this is no Python": "cannot be loaded: SyntaxError",
    "import sys; sys.exit(3)": "cannot be loaded: SystemExit",
    PARTS["ways.py"].replace("halved", "obspa"): 'method "obspa" is registered twice',
    PARTS["scores.py"].replace("squared", "l1").replace("from . import _helper", ""): (
        'criterion "l1" is registered already'
    ),
}
LOADER = """
import sys
from experiments.ground import parts
from spa.errors import SettingError
for path in sys.argv[1:]:
    try:
        parts.ask([path])
        parts.load()
        print("loaded")
    except SettingError as error:
        print(" ".join(str(error).split()))
    import os
    os.environ.pop(parts.VARIABLE)
"""


def test_what_cannot_be_loaded_is_one_line(tmp_path):
    paths = [tmp_path / f"mine{i}.py" for i in range(len(BROKEN))]
    for path, text in zip(paths, BROKEN, strict=True):
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *map(str, paths)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for path, words, said in zip(paths, BROKEN.values(), done.stdout.splitlines(), strict=True):
        assert said.startswith(str(path))
        assert words in said


@pytest.mark.parametrize("words", [["--include", "no/such"], ["parts=[no]"], ["--include"]])
def test_a_path_that_is_not_there_is_one_line(words, monkeypatch):
    monkeypatch.setenv("SPA_PARTS", "")
    with pytest.raises(SettingError, match="--include .*(no such file|needs a file)"):
        arguments.with_parts(words, CONF)


def test_an_installed_package_registers_by_an_entry_point(tmp_path):
    files.write_text(tmp_path / "their_parts.py", PARTS["ways.py"])
    info = tmp_path / "their_parts-1.dist-info"
    files.write_text(info / "METADATA", "Metadata-Version: 2.1\nName: their-parts\nVersion: 1\n")
    files.write_text(info / "entry_points.txt", "[spa.parts]\ntheirs = their_parts\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = harness("experiments.run", "--help", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "halved" in done.stdout


def test_the_command_line_is_rewritten_for_hydra(tmp_path, monkeypatch):
    monkeypatch.setenv("SPA_PARTS", "")
    (tmp_path / "it's").mkdir()
    given = ["-m", "--include", str(tmp_path / "it's"), "seed=0"]
    *rest, last = arguments.with_parts(given, CONF)
    assert rest == ["-m", "seed=0"]
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = OverridesParser.create().parse_override(last)
    assert override.value() == [str(tmp_path / "it's")]
    assert os.environ["SPA_PARTS"] == str(tmp_path / "it's")
    assert arguments.with_parts(["seed=0"], CONF) == ["seed=0"]


def test_options_may_stand_behind_settings(tmp_path):
    """Also where parts are named: nothing that is a setting may come behind them then."""
    done = harness("experiments.run", "seed=3", "--include", str(tmp_path), "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "seed: 3" in done.stdout
    assert str(tmp_path) in done.stdout


@pytest.mark.slow
def test_the_help_lists_every_choice_with_a_line():
    from experiments.sweeps import choices

    said = harness("experiments.run", "--help").stdout
    lines = {
        line.split()[0]: line.split(maxsplit=1)[1:] for line in said.splitlines() if line.split()
    }
    for group in choices.NAMES:
        for name in choices.names(group):
            assert lines.get(name), f"{group}={name} has no line"
    for name in ("onnx/PATH", "torchvision/NAME", "slurm_cpu", "local", "manifest", "search"):
        assert lines.get(name), name
    assert "  rf: null" in said
    assert "--include PATH" in said


def arrays(path: Path, n: int = 60, **more: np.ndarray) -> Path:
    rng = np.random.default_rng(n)
    y = np.arange(n) % 3
    np.savez(path, **({"x": rng.random((n, 1, 8, 8)) + y[:, None, None, None], "y": y} | more))
    return path


def test_arrays_of_ones_own_are_a_data_set(tmp_path):
    from experiments.data import load

    one = arrays(tmp_path / "a.npz")
    data = load({"name": "npz", "path": str(one)})
    assert (data.classes, data.shape, data.task) == (3, (1, 8, 8), "classification")
    sizes = [len(split) for split in (data.train, data.test, data.held("validation"))]
    assert sizes == [42, 12, 6]
    again = load({"name": "npz", "path": str(one)})
    assert again.fingerprint() == data.fingerprint()
    other = arrays(tmp_path / "b.npz", 30)
    data = load({"name": "npz", "path": str(one), "test": str(other), "validation_share": 0.0})
    assert [len(data.train), len(data.test), data.validation] == [60, 30, None]


def test_arrays_are_known_by_their_content(parsed, tmp_path):
    one, two = arrays(tmp_path / "a.npz"), tmp_path / "b.npz"
    two.write_bytes(one.read_bytes())
    ids = [parsed("dataset=npz", f"dataset.path={path}").run_id for path in (one, two)]
    assert ids[0] == ids[1]
    arrays(two, 61)
    assert parsed("dataset=npz", f"dataset.path={two}").run_id != ids[0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"y": np.arange(5)}, "as many samples each"),
        ({"y": np.full(60, 0.5)}, "whole numbers, but is float64"),
        ({"x": np.full((60, 2), np.nan)}, "no finite number"),
        ({"x": np.array(["a"] * 60)}, "no finite number"),
        ({"x": np.array(3.0)}, "as many samples each"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, more, words):
    from experiments.data import load

    with pytest.raises(InputError, match=words):
        load({"name": "npz", "path": str(arrays(tmp_path / "a.npz", **more))})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"text"])
def test_a_file_that_holds_no_arrays_is_named(tmp_path, content):
    from experiments.data import load

    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="is no file of arrays"):
        load({"name": "npz", "path": str(tmp_path / "a.npz")})
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="holds x, but needs"):
        load({"name": "npz", "path": str(tmp_path / "b.npz")})
    with pytest.raises(SettingError, match="dataset.path=data.npz"):
        load({"name": "npz"})
