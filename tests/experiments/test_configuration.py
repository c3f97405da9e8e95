"""Every registered name and every experiment composes; what is wrong is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from hydra.utils import instantiate
from hydra_plugins.spa_harness.grid_sweeper import expand
from omegaconf import OmegaConf

import spa.importance.criterion
from experiments.config import arguments
from experiments.config.settings import dense_key
from experiments.data import DATASETS
from experiments.loggers import LOGGERS
from experiments.methods import METHODS
from experiments.models import MODELS
from experiments.sweeps import choices
from experiments.times import TIMES
from spa.errors import SettingError
from spa.frameworks import FRAMEWORKS

CONF = Path(__file__).resolve().parents[2] / "conf"
LAUNCHERS = CONF / "hydra/launcher"
GROUPS = sorted({path.name for path in CONF.iterdir() if path.is_dir()} | set(choices.NAMES))


def stems(group: str) -> set[str]:
    return {path.stem for path in (CONF / group).glob("*.yaml")}


def every(*skip: str) -> list[str]:
    return [
        f"{group}={name}"
        for group in GROUPS
        if group not in skip
        for name in sorted(stems(group) | set(choices.names(group)))
    ]


def test_every_registered_name_is_a_choice():
    registered = {
        "model": {name for name in MODELS.names() if not name.endswith("/")},
        "dataset": set(DATASETS.names()),
        "method": set(METHODS.names()),
        "time": set(TIMES),
        "logger": set(LOGGERS),
        "framework": set(FRAMEWORKS),
        "criterion": set(spa.importance.criterion.names()),
        "sweeper": {"grid", "optuna"},
    }
    assert {group: set(choices.names(group)) for group in choices.NAMES} == registered


def test_a_file_in_conf_holds_values():
    for path in CONF.glob("*/*.yaml"):
        if path.parent.name != "experiment":
            assert len(yaml.safe_load(path.read_text())) > 1, path


def test_names_are_completed_and_listed_without_a_file(composed):
    composed()
    loader = GlobalHydra.instance().config_loader()
    for group in choices.NAMES:
        found = loader.get_group_options(group, ObjectType.CONFIG)
        assert set(choices.names(group)) <= set(found)
    assert set(choices.NAMES) <= set(loader.get_group_options("", ObjectType.GROUP))
    completed = DefaultCompletionPlugin(loader)._query("config", "criterion=sn")
    assert completed == ["criterion=snip"]


def test_a_choice_comes_with_the_defaults_of_its_settings(composed):
    assert composed("method=obspa", "time=train_prune").method.selection is None
    assert composed("method.steps=4").method == {"name": "spa", "steps": 4, "attention": "heads"}
    assert composed("dataset=cifar10").dataset.download is True


@pytest.mark.parametrize("override", every("experiment"))
def test_every_group_file_composes_and_is_named_like_its_file(composed, parsed, override):
    group, _, name = override.partition("=")
    time = ["time=train_prune"] if override == "method=obspa" else []
    assert composed(override, *time)[group].name == name
    parsed(override, *time)


@pytest.mark.parametrize("name", sorted(stems("experiment")))
def test_every_run_of_every_experiment_composes(composed, parsed, name):
    runs = sweep_of(composed, name, "seed=0")  # other seeds are the same runs
    settings = [parsed(f"experiment={name}", *run) for run in runs]
    assert {s.experiment for s in settings} == {name}
    assert len({(s.run_id, s.seed) for s in settings}) == len(runs)


SIZED = ("segmentation", "recurrent", "graphs", "language")


@pytest.mark.parametrize("name", SIZED)
def test_an_experiment_of_paper_size_has_what_others_must_beat(composed, parsed, name):
    """On the same dense network, with the same budget."""
    runs = sweep_of(composed, name, "trainer=paper", "seed=0", "target.rf=2")
    settings = [parsed(f"experiment={name}", *run) for run in runs]
    assert {s.trainer for s in settings} == {"paper"}
    assert len({(s.run_id, s.seed) for s in settings}) == len(runs)
    for model, dataset in {(s.model, s.dataset["name"]) for s in settings}:
        mine = [s for s in settings if (s.model, s.dataset["name"]) == (model, dataset)]
        assert {"random", "taylor", "l1", None} <= {s.criterion for s in mine}
        assert {"spa", "uniform"} <= {s.method for s in mine}
        assert len({dense_key(s) for s in mine}) == 1
        assert len({s.finetune for s in mine}) == 1


def sweep_of(composed, name: str, *given: str) -> list[list[str]]:
    from hydra import compose

    composed()  # opens the configuration folder
    single = [text for text in given if "," not in text]
    cfg = compose("config", overrides=[f"experiment={name}", *single], return_hydra_config=True)
    sweeper = OmegaConf.to_container(cfg.hydra.sweeper, resolve=True)
    if cfg.hydra.mode is None or "n_trials" in sweeper:  # of a search nobody knows what it tries
        return [[]]
    return expand(
        sweeper["grid"] or [], sweeper["params"] or {}, list(given), parser(), sweeper.get("tasks")
    )


def parser() -> OverridesParser:
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoader)
    return OverridesParser.create(config_loader=loader)


def test_the_demo_has_two_networks_three_times_and_four_ways(composed, parsed):
    settings = [parsed("experiment=demo", *run) for run in sweep_of(composed, "demo")]
    assert {s.model for s in settings} == {"resnet8", "vgg_small"}
    assert {s.time for s in settings} == set(TIMES) - {"iterative", "scratch"}
    assert {"l1", "snip", "random", None} <= {s.criterion for s in settings}
    assert {s.time for s in settings if s.method == "obspa"} == {"train_prune"}
    assert len({dense_key(s) for s in settings}) == 2  # trained once a network, shared by all


def test_the_frameworks_train_the_same_networks_on_what_the_budget_is_for(composed, parsed):
    def runs(*given):
        lists = sweep_of(composed, "frameworks", *given)
        return [parsed("experiment=frameworks", *run) for run in lists]

    digits = runs("trainer=cpu")
    assert len(digits) == 4 * 3 * 3
    assert {s.framework for s in digits} == set(FRAMEWORKS)
    assert {s.dataset["name"] for s in digits} == {"digits"}
    epochs = {s.dataset["name"]: s.train.epochs for s in runs("trainer=paper")}
    assert epochs == {"cifar10": 200, "imagenet": 90}


def test_a_network_that_a_framework_lacks_is_refused(parsed):
    with pytest.raises(SettingError, match='model in mxnet "vit_p4_192"'):
        parsed("framework=mxnet", "model=vit_p4_192")


def test_the_command_line_replaces_an_experiments_lists(composed):
    runs = sweep_of(composed, "demo", "model=resnet20", "seed=4,5")
    assert {run for line in runs for run in line if run.startswith("model")} == {"model=resnet20"}
    assert {run for line in runs for run in line if run.startswith("seed")} == {"seed=4", "seed=5"}


def test_equal_runs_of_two_blocks_are_run_once(composed):
    composed()
    blocks = [{"criterion": "l1,l2"}, {"criterion": "l2"}]
    assert expand(blocks, {}, ["seed=1"], parser()) == [
        ["criterion=l1", "seed=1"],
        ["criterion=l2", "seed=1"],
    ]


@pytest.mark.parametrize("name", ["torchvision/resnet18", "torchvision/vit_b_16"])
def test_open_families_keep_the_name_as_typed(parsed, name):
    assert parsed(f"model={name}").model == name


def test_a_file_is_known_by_its_content_not_its_place(parsed, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.onnx").write_bytes(b"same")
    (tmp_path / "c.onnx").write_bytes(b"other")
    a, b, c = (parsed(f"model=onnx/{tmp_path}/{f}") for f in ("a/m.onnx", "b/m.onnx", "c.onnx"))
    assert a.model == f"onnx/{tmp_path}/a/m.onnx"
    assert a.run_id == b.run_id != c.run_id


@pytest.mark.parametrize(
    "other",
    [
        *("seed=-7", "logger=csv", "force=true", "device=cpu", "workers=1", "results_dir=x"),
        *("data_root=x", "calibration=noise", "bn_refresh=true", "dataset.ood=fashion_mnist"),
    ],
)
def test_the_run_id_ignores_what_is_not_semantic(parsed, other):
    assert parsed(other).run_id == parsed().run_id


@pytest.mark.parametrize(
    "other",
    [
        *("criterion=l2", "model=resnet20", "time=train_prune", "target.rf=3", "target.rp=2"),
        *("trainer=smoke", "trainer.train.lr=0.01", "scope=local", "round_to=4", "dataset.size=16"),
        *("normalize=max", "exclude=[head*]"),
    ],
)
def test_the_run_id_depends_on_what_is_semantic(parsed, other):
    assert parsed(other).run_id != parsed().run_id


def test_obspa_ignores_a_criterion_but_not_its_calibration(parsed):
    plain = parsed("method=obspa", "time=train_prune")
    assert plain.criterion is None
    assert parsed("method=obspa", "time=train_prune", "criterion=snip").run_id == plain.run_id
    assert parsed("method=obspa", "time=train_prune", "calibration=id").run_id != plain.run_id
    ood = ("method=obspa", "time=train_prune", "calibration=ood")
    assert parsed(*ood, "dataset.ood=fashion_mnist").run_id != parsed(*ood).run_id


def test_experiments_share_a_run_id(parsed):
    assert (
        parsed("experiment=demo", "criterion=l1").run_id
        == parsed("trainer=cpu", "target.rf=2.0", "round_to=4").run_id
    )


def test_the_default_target_is_rf_2(parsed):
    assert parsed().asked == {"rf": 2.0}
    assert parsed("target.ratio=0.5").asked == {"ratio": 0.5}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("target.rf=0.5", "target.rf"),
        ("target.rf=nan", "finite"),
        ("target.ratio=1", "[0, 1)"),
        ("seed=x", "seed"),
        ("seed=1.5", "whole"),
        ("scope=globl", "Did you mean global"),
        ("calibration=od", "did you mean ood"),
        ("trainer.train.epochs=-1", "epochs"),
        ("+trainer.train.leer=1", "leer"),
        ("trainer.train.optimizer=sdg", "did you mean sgd"),
        ("bn_refresh=maybe", "bn_refresh"),
        ("latency.repeats=0", "latency.repeats"),
        ("include=5", "include is a list of globs"),
        ("exclude=[[a]]", "exclude is a list of globs"),
        ("ratios=0.5", "ratios is a list of GLOB=NUMBER"),
        ("ratios=[x]", "ratios takes NAME=VALUE"),
        ("ratios=['a=x']", "ratios is a finite number"),
        ("caps=['a=2']", "must lie in [0, 1]"),
        ("floors=['a=1.5']", "floors is a whole number"),
        ("~latency", "latency has settings of its own"),
        ("latency=3", "latency has settings of its own"),
        ("target=5", "target has settings of its own"),
        ("target=null", "target has settings of its own"),
        ("target.rf=[1]", "target.rf"),
        ("model.name=5", "model.name is a text"),
        ("~model.name", "model.name is a text"),
        ("method.name=[a]", "method.name is a text"),
        ("trainer.train=5", "trainer.train"),
        ("max_ratio=${nope}", "nope"),
    ],
)
def test_a_wrong_value_is_named(parsed, override, words):
    with pytest.raises(SettingError) as caught:
        parsed(override)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_limits_of_some_groups_are_numbers_by_glob(parsed):
    words = ("ratios=['out:conv1*=0.25','group:3=0.5']", "floors=['*=4']")
    limits = parsed(*words).limits
    assert limits.ratios == {"out:conv1*": 0.25, "group:3": 0.5}
    assert limits.floors == {"*": 4}
    ids = {parsed(*given).run_id for given in ((), words[:1], words[1:], words)}
    assert len(ids) == 4
    assert parsed("ratios=[]", "caps=null").run_id == parsed().run_id


def test_a_missing_model_file_is_named(parsed):
    with pytest.raises(SettingError, match=r"there is no file no/such\.onnx"):
        parsed("model=onnx/no/such.onnx").semantic()


def test_bytes_and_latency_are_targets_of_methods_that_can_measure(parsed):
    assert parsed("target.bytes=1e6").asked == {"bytes": 1e6}
    assert parsed("target.latency_ratio=2").asked == {"latency_ratio": 2.0}
    assert parsed("method=uniform", "target.latency_ms=0.5").asked == {"latency_ms": 0.5}
    with pytest.raises(SettingError, match=r"method=obspa can be asked for rf, rp, ratio, bytes"):
        parsed("method=obspa", "target.latency_ms=5")
    with pytest.raises(SettingError, match=r"method=torch_pruning can be asked for rf, rp, ratio,"):
        parsed("method=torch_pruning", "target.bytes=1e6")
    with pytest.raises(SettingError, match=r"target\.bytes is .* above 0; -1 was given"):
        parsed("target.bytes=-1")


def test_two_targets_are_one_too_many(parsed):
    with pytest.raises(SettingError, match=r"target\.rf and target\.rp"):
        parsed("target.rf=2", "target.rp=2")


def test_obspa_needs_a_trained_network(parsed):
    with pytest.raises(SettingError, match="trained"):
        parsed("method=obspa", "time=prune_train")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("criterion=l11", "did you mean l1"),
        ("model=resnet8,resnet9", 'unknown model "resnet9"; did you mean resnet8'),
        ("experiment=dem", "did you mean demo"),
        ("crit=l1", "did you mean criterion"),
        ("target.fr=2", "or target.rf"),
        ("criterion=", "needs a name"),
        ("experiment=demo,digits_rf2", "one experiment at a time"),
    ],
)
def test_a_wrong_name_on_the_command_line_is_one_line(argument, words):
    with pytest.raises(SettingError) as caught:
        arguments.check([argument], CONF, choices.NAMES, choices.OPEN)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "argument",
    [
        *("-m", "model=torchvision/resnet18,resnet8", "model=onnx//a/b.onnx", "+new=1"),
        *("hydra.verbose=true", "hydra/launcher=x", "seed=-1", "trainer.train.lr=1", "~logger"),
        *("criterion=choice(l1,l2)", "target.rf=2,3", "--help"),
    ],
)
def test_what_hydra_understands_is_left_alone(argument):
    arguments.check([argument], CONF, choices.NAMES, choices.OPEN)


@pytest.mark.parametrize("preset", sorted(path.stem for path in LAUNCHERS.glob("*.yaml")))
def test_every_preset_of_a_launcher_can_be_made(preset, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # put back afterwards
    with initialize_config_dir(str(LAUNCHERS.parents[1]), version_base="1.3"):
        cfg = compose("config", [f"hydra/launcher={preset}"], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        launcher = instantiate(cfg.hydra.launcher)
    assert callable(launcher.launch)
    if preset.startswith("slurm"):
        kind = preset.removeprefix("slurm_")
        assert launcher.params["partition"] == kind
        assert (launcher.params["gpus_per_node"] or 0) == (kind == "gpu")
        assert launcher.params["additional_parameters"] == {"requeue": True}
        assert launcher.params["submitit_folder"] == "results/slurm"
