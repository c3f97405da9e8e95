"""Which runs may stand in one table."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.results import guard, records, where
from spa.errors import SettingError

ROOT = Path(__file__).resolve().parents[2]


def budget(epochs, name="cpu"):
    return {"budget": {"name": name, "train": {"epochs": epochs, "lr": 0.05}}}


DIFFERENCES = {
    "dense_sha256 of seed 0: 00 in run aaaaaaaaaa, 11 in run b": [
        *({"dense_sha256": "00"}, {"dense_sha256": "11"}),
    ],
    "training budget, train, epochs: 30 in run aaaaaaaaaa, 15 in run b": [
        *({"training": budget(30)}, {"training": budget(15)}),
    ],
    "data_sha256: 11 in run aaaaaaaaaa, 22 in run b": [
        *({"data_sha256": "11"}, {"data_sha256": "22"}),
    ],
    "flops: 1 MAC = 2 FLOPs in run aaaaaaaaaa, 1 MAC = 1 FLOP in run b": [
        *({"flops": "1 MAC = 2 FLOPs"}, {"flops": "1 MAC = 1 FLOP"}),
    ],
}


@pytest.mark.parametrize("said", DIFFERENCES)
def test_runs_that_differ_are_refused_by_name(made_result, said):
    one, two = DIFFERENCES[said]
    both = [made_result(**one), made_result(**two, run_id="b", criterion="snip")]
    with pytest.raises(SettingError) as caught:
        guard.check(both)
    message = str(caught.value)
    assert message.startswith("experiment made: runs of resnet8 (pytorch, digits) cannot")
    assert said in message
    assert "--where run_id=aaaaaaaaaa" in message
    for other in ({"model": "vgg_small"}, {"framework": "jax"}, {"dataset": "cifar10"}):
        guard.check([both[0], made_result(**two, **other, run_id="b")])


def test_seeds_of_one_setting_are_told_apart_by_the_seed(made_result):
    both = [made_result(seed=0, data_sha256="11"), made_result(seed=1, data_sha256="22")]
    with pytest.raises(SettingError, match="--where seed=0,"):
        guard.check(both)
    guard.check(where.select(both, {"seed": ["0"]}))


@pytest.mark.parametrize(
    ("key", "value"), [("data_sha256", None), ("training", {})], ids=["data", "budget"]
)
def test_what_is_not_recorded_is_not_known_to_be_the_same(made_result, key, value):
    known = {"data_sha256": "11", "training": budget(30)}
    lacking = known | {key: value}
    with pytest.raises(SettingError, match="not recorded in run b; what is not recorded"):
        guard.check([made_result(**known), made_result(**lacking, run_id="b")])
    guard.check([made_result(**lacking), made_result(**lacking, run_id="b")])


def test_every_seed_has_its_own_dense_network_but_one_budget(made_result):
    guard.check([made_result(dense_sha256="00"), made_result(seed=1, dense_sha256="11")])
    with pytest.raises(SettingError, match="training budget"):
        guard.check([made_result(training=budget(30)), made_result(seed=1, training=budget(15))])


def test_a_budget_is_what_it_says_whatever_its_name(made_result):
    guard.check([made_result(training=budget(30)), made_result(training=budget(30, "other"))])


def test_epochs_of_the_method_itself_count_as_training(made_result):
    def trained(tuned, own=0):
        parts = {"train": {"epochs": 30}, "finetune": {"epochs": tuned}}
        more = {"prune": {"epochs": own}} if own else {}
        return {"training": {"budget": parts, **more}}

    guard.check([made_result(**trained(15)), made_result(**trained(10, own=5), run_id="b")])
    with pytest.raises(SettingError, match="finetune, epochs: 15 in run aaaaaaaaaa, 20 in run b"):
        guard.check([made_result(**trained(15)), made_result(**trained(15, own=5), run_id="b")])


def test_a_budget_is_found_in_the_configuration_too(made_result):
    given = {"trainer": budget(30)["budget"]}
    guard.check([made_result(training=budget(30)), made_result(config=given, run_id="b")])
    with pytest.raises(SettingError, match="epochs: 15 in run aaaaaaaaaa, 30 in run b"):
        guard.check([made_result(training=budget(15)), made_result(config=given, run_id="b")])


def test_the_way_out_is_the_setting_that_parts_them(made_result):
    both = [
        made_result(training=budget(30), trainer="cpu"),
        made_result(training=budget(15), trainer="smoke", run_id="b"),
    ]
    with pytest.raises(SettingError, match="--where trainer=cpu, or run the others again"):
        guard.check(both)
    guard.check(where.select(both, where.parse(["trainer=cpu"])))


def test_the_way_out_can_be_typed(made_result):
    gpus = [{"cpu": "a", "cores": 2, "gpu": name} for name in ("Made GPU 1", None)]
    both = [made_result(hardware=gpus[0]), made_result(hardware=gpus[1], flops="0", run_id="b")]
    with pytest.raises(SettingError, match="--where 'hardware.gpu=Made GPU 1',"):
        guard.check(both)
    with pytest.raises(SettingError, match="--where hardware.gpu=null,"):
        guard.check(both[::-1])
    guard.check(where.select(both, where.parse(["hardware.gpu=null"])))


@pytest.mark.parametrize("experiment", ["demo", "digits_rf2", "frameworks"])
def test_the_committed_records_may_be_compared(experiment):
    found = records.read_results(ROOT / "results/records", experiment)
    assert len(found) > 1
    guard.check(found)


def test_conditions_are_met_by_what_a_result_holds(made_result):
    results = [made_result(seed=seed, run_id=f"{seed}") for seed in range(3)]

    def kept(*arguments):
        return [r["seed"] for r in where.select(results, where.parse(arguments))]

    assert kept() == [0, 1, 2]
    assert kept("seed=1") == [1]
    assert kept("seed=0,2") == [0, 2]
    assert kept("seed=0,2", "run_id=2") == [2]
    assert kept("asked.rf=2", "code.dirty=false", "calibration=null") == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trainer"], "KEY=VALUE"),
        (["trainer="], "KEY=VALUE"),
        (["trainer=cpu", "trainer=smoke"], "--where trainer=cpu,smoke"),
        (["trainr=cpu"], "did you mean trainer"),
        (["trainer=cpu"], "trainer is smoke"),
        (["seed=one"], "seed is 0"),
        (["code.commit=01"], "code.commit is 0123"),  # too short to be a hash's beginning
    ],
)
def test_conditions_without_meaning_are_refused(made_result, arguments, said):
    code = {"version": "0.1.0", "commit": "0123456789" * 4, "dirty": False}
    with pytest.raises(SettingError, match=said):
        where.select([made_result(code=code)], where.parse(arguments))


def test_unfinished_runs_are_left_out_only_if_they_are_known_to_be(made_result):
    known = [{"run_id": "a", "trainer": "cpu"}, {"run_id": "b", "trainer": "smoke"}]
    assert where.select_unfinished(known, {"trainer": ["cpu"]}) == known[:1]
    assert where.select_unfinished(known, {"scope": ["global"]}) == known
