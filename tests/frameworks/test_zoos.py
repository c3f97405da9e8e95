"""Networks that frameworks themselves have, with random weights: exported, pruned and given back.

Torchvision's are in `tests/test_torchvision_models.py`; Flax has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import spa
from spa.errors import FrameworkError
from spa.frameworks import Source, framework
from tests.frameworks.test_round_trip import NETWORKS

BUILDERS = {
    "tensorflow": f"{NETWORKS}/zoo_keras.py:application",
    "mxnet": f"{NETWORKS}/zoo_gluon.py:vision_model",
}


@dataclass(frozen=True)
class Case:
    """A network at a small picture that it takes.

    Attributes:
        side: of the picture.
        kept: why the framework's own model stays as it is; a part of the message.
    """

    side: int = 32
    kept: str = ""


KERAS = {
    "MobileNetV2": Case(),
    "VGG16": Case(),
    "ResNet50": Case(),
    "ResNet50V2": Case(),
    "EfficientNetB0": Case(),
    "DenseNet121": Case(),
    "Xception": Case(71),
    "InceptionV3": Case(75),
    "NASNetMobile": Case(),
    "MobileNet": Case(),
    "MobileNetV3Small": Case(),
    "ConvNeXtTiny": Case(kept="is not followed"),
}
GLUON = {
    "mobilenet0.25": Case(),
    "mobilenetv2_1.0": Case(),
    "resnet18_v1": Case(),
    "resnet18_v2": Case(),
    "densenet121": Case(224),  # it averages 7x7 pixels, whatever there are
    "squeezenet1.1": Case(224),  # and this one 13x13
    "vgg11_bn": Case(),
    "alexnet": Case(64),
    "inceptionv3": Case(299),
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
    case, it = {**KERAS, **GLUON}[name], framework(kind)
    shape = (3, case.side, case.side)
    model, smaller = (tmp_path / f"{stem}{it.suffix}" for stem in ("dense", "smaller"))
    it.build(Source(BUILDERS[kind], {"name": name, "classes": 10}), model, shape, 0)
    proto = it.export(model, [shape], channels_first=True)
    result = spa.prune(proto, ratio=0.5)
    assert any(check.startswith("equals the zeroed dense model") for check in result.proof.checks)
    assert result.proof.equal == result.plan.exact
    assert result.reached.rp > 2
    if case.kept:
        with pytest.raises(FrameworkError, match=case.kept):
            it.give_back(model, smaller, proto, result, [shape], channels_first=True)
        assert not smaller.exists()
    else:  # it is held to the pruned file
        it.give_back(model, smaller, proto, result, [shape], channels_first=True)
        assert smaller.exists()
