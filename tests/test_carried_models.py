"""Networks with learned weights that others exported, pruned at RF 1.5 and proven.

`experiments.bench.carried` has them. Where the zeroed dense network still tells its inputs apart,
the result is held to the independent oracle too. It cannot judge two kinds, which SPA's own proof
(the same cut with random weights) covers:

1. The onnx package's light networks: a filled weight is the same everywhere, and so is every
   class's probability, whatever is cut.
2. RapidOCR's detector: once a third of its FLOPs is gone without tuning, it finds text nowhere.
"""

import json

import numpy as np
import onnx
import pytest
import torch

import spa
from experiments.bench import carried
from tests.coupling.cases import silent
from tests.forks import zeroed
from tests.oracles import assert_equals_zeroed, run, zeroed_dense

pytestmark = pytest.mark.slow

RF = 1.5
# Parameters without running statistics. squeezenet, resnet50, alexnet (with groups) and vgg19 have
# the numbers that their networks are known for.
LIGHT = {
    "squeezenet": 1_235_496,
    "shufflenet": 1_393_320,
    "densenet121": 8_062_504,
    "inception_v1": 6_998_552,
    "inception_v2": 11_214_888,
    "resnet50": 25_557_032,
}
LARGE = {"bvlc_alexnet": 60_965_224, "vgg19": 143_667_240, "zfnet512": 87_250_536}
RAPIDOCR = {"det": 1_171_512, "cls": 129_356, "rec": 2_688_397}
# Weights in the main graph.
SILERO = {
    "silero_vad_16k_op15": 309_632,
    "silero_vad_16k_sequence": 309_632,
    "silero_vad_half": 309_632,
    "silero_vad_openvino_16k": 309_632,
}
# Two networks, for two sampling rates, in the branches of one If: their weights in there too, or
# in the main graph. The number of parameters, and how many of these nothing reads.
SILERO_IN_BRANCHES = {"silero_vad": (545_280, 0), "silero_vad_op18_ifless": (545_668, 388)}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _prune(proto: onnx.ModelProto, params: int, inputs: dict | None = None) -> spa.Pruned:
    """Prunes, and checks what holds for every model."""
    model = spa.load(proto, inputs)
    assert not silent(spa.find_groups(model))
    result = spa.prune(model, rf=RF)
    assert result.dense.params == params
    assert result.pruned.params < params
    assert result.reached.rf >= RF
    assert result.plan.exact
    assert result.proof.equal
    assert spa.measure_cost(spa.load(result.model, inputs)) == result.pruned
    return result


def _is_smaller(result: spa.Pruned, proto: onnx.ModelProto) -> bool:
    return len(result.model.SerializeToString()) < len(proto.SerializeToString())


def _document(result: spa.Pruned):
    return json.loads(json.dumps(result.plan.to_json()))


@pytest.mark.parametrize(("kind", "params"), RAPIDOCR.items())
def test_rapidocr(kind, params):
    """Paddle's exports: weights in Constant nodes, hundreds of them, shape arithmetic."""
    proto = carried.rapidocr(kind)
    result = _prune(proto, params)
    assert _is_smaller(result, proto)
    if kind == "det":
        return
    document = _document(result)
    # Rounding alone makes the recogniser differ from itself by 5e-5 with and without ONNX
    # Runtime's rewrites.
    tolerance = {"cls": 1e-5, "rec": 5e-4}[kind]
    assert_equals_zeroed(proto, result.model, document, free=48, tolerance=tolerance)


@pytest.mark.parametrize("width", [40, 160, 320])
def test_the_pruned_recogniser_takes_lines_of_any_length(width):
    """The width was written into Reshape's targets, as the height next to it cannot change."""
    proto = carried.rapidocr("rec")
    result = spa.prune(proto, rf=RF, inputs={"x": (1, 3, 48, 96)}, verify=False)
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 3, 48, width), dtype=np.float32)}
    (want,) = run(zeroed_dense(proto, _document(result)), feeds).values()
    (have,) = run(result.model, feeds).values()
    assert have.shape == (1, width // 8, 6625)
    np.testing.assert_allclose(have, want, atol=5e-4)


@pytest.mark.parametrize(
    ("name", "params"), [("efficientnet_lite0", 4_652_008), ("squeezenet", 1_235_496)]
)
def test_imagenet_networks(name, params):
    """Depthwise convolutions and residuals; branches that are concatenated."""
    proto = carried.exported(name)
    result = _prune(proto, params)
    assert _is_smaller(result, proto)
    assert_equals_zeroed(proto, result.model, _document(result), batches=(1, 2), seeds=(0,), free=0)


@pytest.mark.parametrize(
    ("name", "prepare", "least"),
    [
        ("efficientnet_lite0", carried.lite0_input, 17),
        ("squeezenet", carried.squeezenet_input, 10),
    ],
)
def test_the_weights_are_real(name, prepare, least):
    """Of twenty photos, 18 and 13 are told right."""
    pictures = list(carried.pictures())
    assert len(pictures) == 20
    inputs = np.concatenate([prepare(image) for image, _ in pictures])
    (scores,) = run(carried.exported(name), {"input": inputs}).values()
    assert (scores.argmax(axis=1) == [label for _, label in pictures]).sum() >= least


@pytest.mark.parametrize(
    ("name", "params"),
    [*LIGHT.items(), *(pytest.param(*item, marks=pytest.mark.long) for item in LARGE.items())],
)
def test_light_networks(name, params):
    """Filled weights stay filled, so it is the parameters that get fewer, not the bytes."""
    proto = carried.light(name)
    result = _prune(proto, params)
    assert "random weights" in result.proof.checks[-1]
    fills = [
        sum(n.op_type == "ConstantOfShape" for n in p.graph.node) for p in (proto, result.model)
    ]
    assert fills[0] == fills[1]
    assert len(result.model.SerializeToString()) < 1.1 * len(proto.SerializeToString())


@pytest.mark.parametrize(("name", "params"), SILERO.items())
def test_silero_vad(name, params):
    """Convolutions, a spectrogram among them, and an LSTM; some keep that in nested Ifs."""
    proto = carried.silero_vad(name)
    inputs = carried.silero_inputs(proto)
    result = _prune(proto, params, inputs)
    assert _is_smaller(result, proto)
    reference = zeroed_dense(proto, _document(result))
    for seed in range(3):
        feeds = carried.silero_inputs(proto, seed)
        want, have = run(reference, feeds), run(result.model, feeds)
        for output in want:
            assert np.ptp(want[output]) > 1e-3 or output in ("output", "speech_probs")
            np.testing.assert_allclose(have[output], want[output], atol=1e-5)


@pytest.mark.parametrize("name", SILERO)
def test_silero_vad_every_layer_alike(name):
    """Gates of an LSTM, written out or not, come out next to zero; that is no difference."""
    proto = carried.silero_vad(name)
    limits = spa.Limits(scope="local")
    result = spa.prune(proto, ratio=0.5, limits=limits, inputs=carried.silero_inputs(proto))
    assert result.proof.equal


@pytest.mark.parametrize(("name", "known"), SILERO_IN_BRANCHES.items())
def test_silero_vad_in_branches(name, known):
    """Both networks shrink, and each computes what it should at its own rate."""
    params, unread = known
    proto = carried.silero_vad(name)
    inputs = carried.silero_inputs(proto)
    model = spa.load(proto, inputs)
    assert spa.measure_cost(model).params == params
    result = spa.prune(model, ratio=0.5)
    assert result.pruned.params < 0.8 * params
    assert result.plan.exact
    assert result.proof.equal
    assert spa.measure_cost(spa.load(result.model, inputs)).params == result.pruned.params - unread
    (old,), (new,) = ([n for n in p.graph.node if n.op_type == "If"] for p in (proto, result.model))
    assert (new.name, new.input, new.output) == (old.name, old.input, old.output)
    reference = zeroed(proto, result.plan)
    rng = np.random.default_rng(1)
    for rate, samples in ((16000, 576), (8000, 288)):
        noise = 0.1 * rng.standard_normal((1, samples)).astype(np.float32)
        feeds = {**inputs, "input": noise, "sr": np.array(rate)}
        want, have = run(reference, feeds), run(result.model, feeds)
        for output in want:
            np.testing.assert_allclose(have[output], want[output], atol=1e-5)
        assert np.ptp(want["stateN"]) > 1e-3


def test_basic_pitch():
    """TensorFlow's export: the spectrogram's bins are the height of later convolutions."""
    proto = carried.basic_pitch()
    result = _prune(proto, 38_134)
    assert _is_smaller(result, proto)
    assert_equals_zeroed(proto, result.model, _document(result), batches=(1, 2), seeds=(0,))
