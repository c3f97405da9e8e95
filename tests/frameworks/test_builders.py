"""Which networks a framework has, and what builds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.models import MODELS, builder, builders
from experiments.models.ported import port, ported
from spa.errors import FrameworkError, SettingError
from spa.frameworks import Source, framework

EVERYWHERE = {
    *("resnet8", "resnet20", "resnet18", "vgg16_bn"),
    *("mobilenet_v2", "densenet121", "squeezenet1_1"),
}


def test_the_same_networks_are_in_all_frameworks():
    assert set(builders("mxnet")) == EVERYWHERE
    assert set(builders("tensorflow")) == set(builders("jax")) == {*EVERYWHERE, "vit_p4_192"}
    assert set(builders("pytorch")) > set(builders("jax"))
    file, _, name = builder("tensorflow", "resnet20").rpartition(":")
    assert (Path(file).parts[-2:], name) == (("keras", "resnet.py"), "resnet20")
    assert Path(file).is_file()


def test_what_is_not_there_is_told_with_what_is():
    with pytest.raises(SettingError, match='model in mxnet "vit_p4_192".*vgg16_bn'):
        builder("mxnet", "vit_p4_192")
    with pytest.raises(SettingError, match='unknown framework "keras".*tensorflow'):
        builder("keras", "resnet8")


def test_torch_builds_with_weights_of_its_own_names(tmp_path):
    torch.manual_seed(1)
    net = MODELS.get("resnet8")((1, 8, 8), 5).eval()
    model, pytorch = tmp_path / "net.pt", framework("pytorch")
    source = Source(builder("pytorch", "resnet8"), {"classes": 5})
    pytorch.build(source, model, (1, 8, 8), 0, port(net, "pytorch", tmp_path / "w.npz"))
    x = np.ones((2, 1, 8, 8), np.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(pytorch.predict(model, x), net(torch.from_numpy(x)))

    arrays = ported(net, "pytorch")
    del arrays["head.bias"]
    np.savez(tmp_path / "less.npz", **arrays)
    with pytest.raises(FrameworkError, match='lacks "head.bias"'):
        pytorch.build(source, model, (1, 8, 8), 0, tmp_path / "less.npz")
