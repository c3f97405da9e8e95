"""What exporters alone write wrongly, without any error; ours mends it, and the gate would tell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from experiments.models import builder
from spa.errors import FrameworkError
from spa.frameworks import Source, framework
from spa.frameworks.gate import passed
from spa.graph.execute import run

pytestmark = pytest.mark.slow

KERAS = """
import keras
from keras import layers, ops

def exact_gelu(input_shape):
    x = inputs = keras.Input(input_shape)
    x = layers.Activation("gelu")(layers.Conv2D(4, 3)(x))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))

def grouped(input_shape):
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, groups=4)(layers.Conv2D(8, 3)(inputs))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))

@keras.saving.register_keras_serializable("mine")
class Table(layers.Layer):
    def build(self, shape):
        self.table = ops.arange(shape[-1], dtype="float32")

    def call(self, x):
        return x + self.table

def table(input_shape):
    inputs = keras.Input(input_shape)
    x = Table()(layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
"""

# The exporter as its documentation has it; a picture and what the network gives go beside.
KERAS_ALONE = """
import sys, keras, numpy as np, tensorflow as tf, tf2onnx
sys.path.append(".")
import net
model = getattr(net, sys.argv[1])((8, 8, 3))
spec = [tf.TensorSpec((None, 8, 8, 3), tf.float32, name="input")]
function = tf.function(lambda image: model(image, training=False), input_signature=spec)
tf2onnx.convert.from_function(function, spec, opset=15, output_path="alone.onnx")
x = np.ones((2, 8, 8, 3), "float32")
np.savez("alone.npz", x=x, y=np.asarray(model(x)))
"""

FLAX = f"""
import sys
from flax import nnx
sys.path.append({str(Path(builder("jax", "resnet8").rpartition(":")[0]).parent)!r})
from resnet import resnet8

def residual(rngs):
    return resnet8((8, 8, 3), 5, rngs)

def large(rngs):
    return nnx.Sequential(
        nnx.Conv(3, 512, (3, 3), rngs=rngs),
        nnx.Conv(512, 512, (3, 3), rngs=rngs),
        lambda x: x.mean(axis=(1, 2)),
    )

class Pools(nnx.Module):
    def __init__(self, pooled, rngs):
        self.conv, self.pooled = nnx.Conv(3, 4, (3, 3), rngs=rngs), pooled

    def __call__(self, x):
        return self.pooled(self.conv(x)).mean(axis=(1, 2))

def by_place(rngs):
    return Pools(lambda x: nnx.avg_pool(nnx.max_pool(x, (2, 2), (2, 2), "SAME"), (2, 2)), rngs)

def in_numbers(rngs):
    def pooled(x):
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((0, 1), (0, 1)))
        return nnx.avg_pool(x, (3, 3), padding=((1, 0), (0, 1)), count_include_pad=False)
    return Pools(pooled, rngs)
"""
FLAX_ALONE = """
import sys, numpy as np
from flax import nnx
from jax2onnx import to_onnx
sys.path.append(".")
import net
model = getattr(net, sys.argv[1])(nnx.Rngs(0))
for _ in range(int(sys.argv[2])):
    to_onnx(model, inputs=[("B", 8, 8, 3)], return_mode="file", output_path="alone.onnx")
x = np.ones((2, 8, 8, 3), "float32")
np.savez("alone.npz", x=x, y=np.asarray(model(x)))
"""

GLUON = """
from mxnet.gluon import nn

def fixed():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3), nn.BatchNorm(scale=False), nn.GlobalAvgPool2D(), nn.Flatten())
    return net

def averaged():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3), nn.HybridLambda(lambda F, x: F.mean(x, axis=(2, 3))))
    return net
"""
GLUON_ALONE = """
import sys, mxnet as mx, numpy as np
sys.path.append(".")
import net
model = getattr(net, sys.argv[1])()
model.initialize()
model.hybridize()
x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
model(mx.nd.array(x))
for name, p in model.collect_params().items():
    if name.endswith("gamma"):
        p.set_data(mx.nd.full(p.shape, 2))
y = model(mx.nd.array(x)).asnumpy()
model.export("net", 0)
mx.onnx.export_model("net-symbol.json", "net-0000.params", [x.shape], np.float32, "alone.onnx")
np.savez("alone.npz", x=x, y=y)
"""


@pytest.fixture
def written(installed, tmp_path, monkeypatch):
    """Runs code in a framework's environment, beside a file of networks."""

    def write(kind, networks, code, *arguments):
        (tmp_path / "net.py").write_text(networks)
        monkeypatch.chdir(tmp_path)
        python = str(installed(kind).python)
        done = subprocess.run(
            [python, "-c", code, *arguments], capture_output=True, text=True, check=False
        )
        return done

    return write


def refused(words):
    """The gate refuses what the exporter alone wrote."""
    with np.load("alone.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    with pytest.raises(FrameworkError, match=words):
        passed(onnx.load("alone.onnx"), [[x]], [[y]], "it")


def exported(kind, function, tmp_path, shapes=((3, 8, 8),)):
    """Ours, which has passed the gate; once more held to what the framework predicts."""
    it = framework(kind)
    model = tmp_path / f"ours{it.suffix}"
    it.build(Source(f"{tmp_path}/net.py:{function}"), model, (3, 8, 8), 0)
    proto = it.export(model, shapes, channels_first=True)
    x = np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)
    (found,) = run(proto, {proto.graph.input[0].name: x})
    np.testing.assert_allclose(found, it.predict(model, x), atol=1e-4)
    return proto


def test_keras_an_exact_gelu(written, tmp_path):
    """tf2onnx lacks Erfc, logs a line, and writes an operator that nobody knows."""
    assert written("tensorflow", KERAS, KERAS_ALONE, "exact_gelu").returncode == 0
    refused("not valid ONNX: .*Erfc")
    assert "Erf" in {
        node.op_type for node in exported("tensorflow", "exact_gelu", tmp_path).graph.node
    }


def test_keras_a_grouped_convolution(written, tmp_path):
    """Keras compiles it as a function of its own, which tf2onnx leaves as a call."""
    assert written("tensorflow", KERAS, KERAS_ALONE, "grouped").returncode == 0
    refused("not valid ONNX: .*PartitionedCall")
    nodes = exported("tensorflow", "grouped", tmp_path).graph.node
    assert [a.i for n in nodes if n.op_type == "Conv" for a in n.attribute if a.name == "group"]


def test_keras_constants_made_while_building(written, tmp_path):
    """tf2onnx makes inputs of what the function captured."""
    assert written("tensorflow", KERAS, KERAS_ALONE, "table").returncode == 0
    refused("2 inputs .* made inputs of constants")
    # They are no inputs that shapes would be needed for, either.
    assert len(exported("tensorflow", "table", tmp_path, shapes=None).graph.input) == 1


def test_flax_shapes_of_another_layout(written, tmp_path):
    """jax2onnx leaves shapes within from before it moved Transposes: invalid until they go."""
    assert written("jax", FLAX, FLAX_ALONE, "residual", "1").returncode == 0
    with pytest.raises(onnx.shape_inference.InferenceError, match="existing shape differ"):
        onnx.checker.check_model(onnx.load("alone.onnx"), full_check=True)
    assert not exported("jax", "residual", tmp_path).graph.value_info


def test_flax_data_beside_the_file(written, tmp_path):
    """jax2onnx writes large weights apart, and refuses to do so again."""
    assert "FileExistsError" in written("jax", FLAX, FLAX_ALONE, "large", "2").stderr
    proto = exported("jax", "large", tmp_path)
    assert not any(weight.external_data for weight in proto.graph.initializer)


@pytest.mark.parametrize("function", ["by_place", "in_numbers"])
def test_flax_pools(written, tmp_path, function):
    """jax2onnx's stand-ins take settings by keyword alone, and no padding in numbers."""
    assert written("jax", FLAX, FLAX_ALONE, function, "1").returncode != 0
    kinds = {node.op_type for node in exported("jax", function, tmp_path).graph.node}
    assert {"MaxPool", "AveragePool"} <= kinds


def test_mxnet_axes_of_a_mean(written, tmp_path):
    """MXNet writes them as opset 13 has them, and checks them as the newest that onnx knows."""
    assert "Unrecognized attribute: axes" in written("mxnet", GLUON, GLUON_ALONE, "averaged").stderr
    exported("mxnet", "averaged", tmp_path)


def test_mxnet_a_fixed_gamma(written, tmp_path):
    """MXNet computes with a gamma of one, and exports the one that the file holds."""
    assert written("mxnet", GLUON, GLUON_ALONE, "fixed").returncode == 0
    refused("differs from the model's own")
    it = framework("mxnet")
    proto = it.export(tmp_path / "net-symbol.json", [(3, 8, 8)])
    with np.load("alone.npz") as arrays:
        (found,) = run(proto, {proto.graph.input[0].name: arrays["x"]})
        np.testing.assert_allclose(found, arrays["y"], atol=1e-5)
