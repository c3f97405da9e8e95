"""Networks fit small pictures; training is reproducible and learns."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from experiments.data import load
from experiments.ground import seeds
from experiments.ground.progress import Progress
from experiments.models import MODELS, takes_pictures
from experiments.models.network import fresh
from experiments.training.budget import Budget
from experiments.training.loop import feed, fit
from spa.errors import InputError, ModelError, SettingError

# Classifiers of pictures: not those of points, nor of pixels.
OTHERS = ("dgcnn", "pointnet", "unet_small")
NAMED = [
    name for name in MODELS.names()
    if not name.endswith("/") and takes_pictures(name) and name not in OTHERS
]  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_every_network_takes_small_pictures(name, shape):
    net = MODELS.get(name)(shape, 7).eval()
    with torch.no_grad():
        assert net(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2"])
def test_large_pictures_get_the_usual_stem(name):
    from spa.bridge.torchvision_shim import import_torchvision

    net, usual = MODELS.get(name)((3, 64, 64), 1000), getattr(import_torchvision().models, name)()
    assert {k: v.shape for k, v in net.state_dict().items()} == {
        k: v.shape for k, v in usual.state_dict().items()
    }


def test_sizes_are_the_published_ones():
    def parameters(name, shape=(3, 32, 32)):
        return sum(p.numel() for p in MODELS.get(name)(shape, 10).parameters())

    assert parameters("resnet20") == pytest.approx(0.27e6, rel=0.02)
    assert parameters("resnet56") == pytest.approx(0.85e6, rel=0.02)
    assert parameters("vgg_small", (1, 8, 8)) >= 100_000
    convs = [m for m in MODELS.get("vgg_small")((1, 8, 8), 10).modules() if hasattr(m, "stride")]
    assert sum(isinstance(m, torch.nn.Conv2d) for m in convs) == 6


@pytest.mark.parametrize("name", ["torchvision/resnet18", "torchvision/vit_b_32"])
def test_networks_of_torchvision_take_small_grey_pictures(name):
    net = MODELS.get(name)((1, 8, 8), 10).eval()
    with torch.no_grad():
        assert net(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_unknown_networks_offer_near_matches():
    with pytest.raises(SettingError, match="did you mean resnet8"):
        MODELS.get("resnet9")
    with pytest.raises(SettingError, match="did you mean resnet18"):
        MODELS.get("torchvision/resnet17")((3, 32, 32), 10)
    with pytest.raises(SettingError, match="unknown model"):
        MODELS.get("torchvision/")


def onnx_file(path, classes: int) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [value("y", TensorProto.FLOAT, ["N", classes])],
        [helper.make_tensor("w", TensorProto.FLOAT, [64, classes], [0.0] * 64 * classes)],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))


def test_an_onnx_file_must_fit_the_data(tmp_path):
    path = tmp_path / "m.onnx"
    onnx_file(path, 10)
    digits = load({"name": "digits"})
    assert fresh(f"onnx/{path}", digits, 0)[1].graph.name == "g"
    with pytest.raises(InputError, match=r"its input 'x' is \[1, 8, 8\] .* needs \[1, 16, 16\]"):
        fresh(f"onnx/{path}", load({"name": "digits", "size": 16}), 0)
    onnx_file(path, 100)
    with pytest.raises(InputError, match=r"its output 'y' is \[100\] .* digits needs \[10\]"):
        fresh(f"onnx/{path}", digits, 0)
    path.write_text("no model")
    with pytest.raises(ModelError, match="no valid ONNX"):
        MODELS.get(f"onnx/{path}")((1, 8, 8), 10)
    with pytest.raises(SettingError, match="there is no file"):
        MODELS.get("onnx/no/such.onnx")((1, 8, 8), 10)


def trained(seed: int) -> tuple[dict[str, torch.Tensor], list[dict]]:
    data, rows = load({"name": "digits"}), []
    seeds.seed_torch(seed, "initial weights")
    net = MODELS.get("resnet8")(data.shape, data.classes)
    fit(
        *(net, data, Budget(epochs=2, batch=128)),
        **{"seed": seed, "stream": "dense", "device": torch.device("cpu")},
        **{"report": rows.append, "progress": Progress("test")},
    )
    return net.state_dict(), rows


def test_training_learns_and_repeats_itself():
    (first, rows), (second, _) = trained(-4), trained(-4)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["loss"] < rows[0]["loss"] < 2.3
    other, _ = trained(4)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_a_loss_that_explodes_is_named():
    data = load({"name": "digits"})
    net = MODELS.get("vgg_small")(data.shape, data.classes)
    with pytest.raises(SettingError, match="smaller learning rate than"):
        fit(
            *(net, data, Budget(epochs=3, batch=128, lr=1e30)),
            **{"seed": 0, "stream": "dense", "device": torch.device("cpu")},
            **{"report": lambda _: None, "progress": Progress("test")},
        )


def test_a_feed_has_the_budgets_rates():
    budget = Budget(epochs=10, batch=600, lr=1.0, warmup=2)
    fed = feed(load({"name": "digits"}).train, budget, 0, "dense")
    assert fed.rate(3, 1) == budget.rates().rate(3 + 1 / fed.steps)


def test_streams_of_one_seed_are_independent_and_stable():
    assert seeds.whole(0, "a") == seeds.whole(0, "a") != seeds.whole(0, "b")
    assert seeds.whole(-1, "a") != seeds.whole(1, "a")
    draws = seeds.generator(-1, "a").random(3)
    assert np.array_equal(draws, seeds.generator(-1, "a").random(3))
