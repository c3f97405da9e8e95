"""Networks that frameworks themselves have, with random weights: exported, pruned and given back.

Torchvision's are in `tests/test_torchvision_models.py`; Flax has none.
"""

from __future__ import annotations

import pytest

import spa
from spa.frameworks import Source, framework
from tests.frameworks.test_round_trip import NETWORKS

BUILDERS = {
    "tensorflow": f"{NETWORKS}/zoo_keras.py:application",
    "mxnet": f"{NETWORKS}/zoo_gluon.py:vision_model",
}
# The side of a small picture that each takes.
KERAS = {
    "MobileNetV2": 32,
    "VGG16": 32,
    "ResNet50": 32,
    "EfficientNetB0": 32,
    "DenseNet121": 32,
    "Xception": 71,
    "InceptionV3": 75,
    "MobileNetV3Small": 32,
}
GLUON = {
    "mobilenet0.25": 32,
    "mobilenetv2_1.0": 32,
    "resnet18_v1": 32,
    "resnet18_v2": 32,
    "densenet121": 224,  # it averages 7x7 pixels, whatever there are
    "squeezenet1.1": 224,  # and this one 13x13
    "vgg11_bn": 32,
    "alexnet": 64,
    "inceptionv3": 299,
}
SHORT = {"MobileNetV2", "mobilenet0.25", "resnet18_v2"}
ZOOS = [
    pytest.param(kind, name, marks=pytest.mark.slow if name in SHORT else pytest.mark.long, id=name)
    for kind, zoo in (("tensorflow", KERAS), ("mxnet", GLUON))
    for name in zoo
]


@pytest.mark.parametrize(("kind", "name"), ZOOS)
def test_a_network_of_a_zoo(kind, name, tmp_path, installed):
    installed(kind)
    it, side = framework(kind), {**KERAS, **GLUON}[name]
    shape = (3, side, side)
    model, smaller = (tmp_path / f"{stem}{it.suffix}" for stem in ("dense", "smaller"))
    it.build(Source(BUILDERS[kind], {"name": name, "classes": 10}), model, shape, 0)
    proto = it.export(model, [shape], channels_first=True)
    result = spa.prune(proto, ratio=0.5)
    assert any(check.startswith("equals the zeroed dense model") for check in result.proof.checks)
    assert result.proof.equal == result.plan.exact
    assert result.reached.rp > 2
    # It is held to the pruned file.
    it.give_back(model, smaller, proto, result, [shape], channels_first=True)
    assert smaller.exists()
