"""All times and methods: what is interrupted ends as if nothing had been; and what rounds do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import spa
from experiments.ground import files
from experiments.ground.progress import Progress
from experiments.methods import METHODS
from experiments.results.guard import budget
from experiments.runs.execute import execute
from experiments.runs.folder import RunFolder
from experiments.runs.rounds import in_round, remaining
from experiments.times import TIMES
from experiments.training.interrupts import Interrupted, Interrupts
from spa.errors import SettingError
from tests.experiments.test_methods import installed

# Four steps an epoch; the state is kept after each, so that every try gets on.
SMALL = (
    *("model=resnet8", "trainer=smoke", "target.rf=1.5", "calibration_samples=32"),
    *("trainer.train.epochs=1", "trainer.finetune.epochs=1"),
    *("trainer.train.batch=350", "trainer.finetune.batch=350"),
    *("latency.repeats=1", "latency.warmup=1", "checkpoint_seconds=0"),
)
ROUNDS = ("time=iterative", "time.steps=2", "time.epochs=1")
TRAINING = ("slimming", "growing", "group_sparsity")  # methods that train
BRIEFLY = ("method.epochs=1", "method.batch=350")
CASES = {
    **{time: (f"time={time}",) for time in TIMES if time != "iterative"},
    "iterative": ROUNDS,
    **{
        name: ("time=train_prune", f"method={name}")
        for name in METHODS.names()
        if name not in ("spa", *TRAINING)
    },
    **{name: ("time=train_prune", f"method={name}", *BRIEFLY) for name in TRAINING},
    "iterative slimming": (*ROUNDS, "method=slimming", *BRIEFLY),
}


class After(Interrupts):
    """Asks a run to end after so many steps of its trainings."""

    def __init__(self, steps: float) -> None:
        super().__init__()
        self.left = steps

    @contextmanager
    def gently(self) -> Iterator:
        def asked() -> bool:
            self.left -= 1
            return self.left <= 0

        yield asked


@pytest.fixture
def done(parsed, tmp_path):
    """Does a run, interrupted every so many steps; gives its folder, its result and its tries."""

    def make(results: Path, *overrides: str, steps: float = float("inf")) -> tuple[Path, dict, int]:
        settings, tries = parsed(*SMALL, *overrides, f"results_dir={results}"), 0
        while True:
            tries += 1
            folder = RunFolder(settings)
            folder.start({}, [])
            try:
                result = execute(settings, folder, Progress("test"), After(steps))
            except Interrupted:
                folder.interrupt()
                continue
            folder.finish(result)
            return folder.path, result, tries

    return make


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Results of runs that nobody interrupted."""
    return tmp_path_factory.mktemp("whole")


def test_the_table_has_every_time_and_method():
    said = " ".join(" ".join(case) for case in CASES.values())
    assert all(f"time={time}" in said for time in TIMES)
    assert all(f"method={name}" in said for name in METHODS.names() if name != "spa")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_resumed_is_uninterrupted_to_the_bit(done, whole, tmp_path, case):
    for name in METHODS.names():
        if f"method={name}" in CASES[case] and not installed(name):
            pytest.skip(f"{name} is not installed")
    one, first, tries = done(whole, *CASES[case])
    assert tries == 1
    shutil.copytree(whole / "dense", tmp_path / "dense")  # test_resume.py interrupts that
    two, second, tries = done(tmp_path, *CASES[case], steps=3)
    assert tries > 1 or "time=train_prune" in CASES[case]
    assert tries > 1 or not any(name in case for name in TRAINING)
    made = sorted(path.name for path in one.glob("*.onnx"))
    assert made == sorted(path.name for path in two.glob("*.onnx"))
    for name in made:
        assert files.sha256(one / name) == files.sha256(two / name), name
    assert first["metrics"] == second["metrics"]
    assert first["seen"] == second["seen"]
    assert lines(one) == lines(two)
    assert not list(tmp_path.glob("**/checkpoint.pt"))


def lines(folder: Path) -> list[dict[str, object]]:
    """The lines of a run's metrics, less times."""
    found = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in ("at", "seconds")} for line in found]


@pytest.mark.slow
def test_rounds_go_to_the_target_and_count_their_epochs(done, whole):
    folder, result, _ = done(whole, "time=iterative", "time.steps=3", "time.epochs=2")
    ends = [each["reached"]["rf"] for each in result["details"]["rounds"]]
    ends.append(result["reached"]["rf"])
    for end, asked in zip(ends, (1.5 ** (1 / 3), 1.5 ** (2 / 3), 1.5), strict=True):
        assert asked <= end < 1.1 * asked
    assert result["training"]["prune"]["epochs"] == 4
    once = done(whole, "time=train_prune_finetune")[1]
    assert budget(result)["finetune"]["epochs"] == budget(once)["finetune"]["epochs"] + 4
    dense = spa.load(folder / "dense.onnx")
    assert [width["dense"] for width in result["widths"]] == [
        group.channels for group in spa.find_groups(dense)
    ]
    # The plan is of the last round: with it, the file of the round before becomes the pruned one.
    assert result["plan_input"]["file"] == "round_2.onnx"
    plan = spa.Plan.from_json(json.loads((folder / "plan.json").read_text()))
    assert plan.model == files.sha256(folder / "round_2.onnx")
    again = spa.apply_plan(spa.load(folder / "round_2.onnx"), plan)
    assert again.SerializeToString() == (folder / "pruned.onnx").read_bytes()


@pytest.mark.slow
def test_a_single_round_is_the_time_without_rounds(done, whole):
    one, _, _ = done(whole, "time=iterative", "time.steps=1")
    two, _, _ = done(whole, "time=train_prune_finetune")
    for name in ("pruned.onnx", "finetuned.onnx"):
        assert files.sha256(one / name) == files.sha256(two / name)


def test_what_a_round_still_has_to_reach():
    widths = [{"name": "w", "dense": 10, "pruned": 8}]
    so_far = {"reached": {"rf": 1.6, "rp": 1.25}, "widths": widths}
    assert remaining(spa.Target(rf=3.2), so_far) == spa.Target(rf=2.0)
    assert remaining(spa.Target(rp=1.1), so_far) == spa.Target(rp=1.0)  # there already
    assert remaining(spa.Target(ratio=0.6), so_far).value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("time=iterative", "time.steps=0"), "time iterative.steps is at least 1, but is 0"),
        (("time=iterative", "method=torch_pruning"), "no more after the first of 3 rounds"),
    ],
)
def test_what_rounds_cannot_be(parsed, overrides, said):
    with pytest.raises(SettingError, match=said):
        parsed(*overrides)


def test_how_rounds_go_is_part_of_what_a_run_is(parsed):
    runs = [parsed(*overrides) for overrides in (
        ("time=iterative",), ("time=iterative", "time.steps=4"),
        ("time=iterative", "time.epochs=1"), ("time=train_prune_finetune",),
    )]  # fmt: skip
    assert len({run.run_id for run in runs}) == len(runs)
    assert runs[0].semantic()["time_options"] == {"steps": 3, "epochs": 2}
    assert "time_options" not in runs[3].semantic()


def test_shares_of_some_groups_are_parted_among_rounds():
    limits = spa.Limits(ratios={"a*": 0.75, "b*": 0.0})
    left = {"a*": 1.0, "b*": 1.0}
    for step in (1, 2, 3):
        part = in_round(limits, step, 3)
        left = {glob: share * (1 - part.ratios[glob]) for glob, share in left.items()}
        assert left["a*"] == pytest.approx(1 - 0.25 * step)
    assert left["b*"] == 1.0
    assert in_round(None, 1, 2) is None
    assert in_round(limits, 1, 1) == limits
