"""Saved models that would do more than compute, and Keras models that ask more of an export."""

from __future__ import annotations

import os
import subprocess

import pytest

from spa.cli.main import main

pytestmark = pytest.mark.slow

SAVED = """
import sys
import tensorflow as tf

class Net(tf.Module):
    def __init__(self):
        self.w = tf.Variable(tf.random.normal((3, 3, 3, 8)))
        self.v = tf.Variable(tf.random.normal((8, 4)))

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32)])
    def __call__(self, x):
        with tf.control_dependencies([DEED]):
            h = tf.nn.relu(tf.nn.conv2d(x, self.w, 1, "SAME"))
        return tf.matmul(tf.reduce_mean(h, [1, 2]), self.v)

net = Net()
tf.saved_model.save(net, sys.argv[1], signatures={"serving_default": net.__call__})
"""
DEEDS = {
    "WriteFile": 'tf.io.write_file(sys.argv[2], "written")',
    "PrintV2": 'tf.print("x", output_stream="file://" + sys.argv[2])',
    "SaveV2": 'tf.raw_ops.SaveV2(prefix=sys.argv[2], tensor_names=["w"], shape_and_slices=[""], '
    "tensors=[x])",
}
KERAS = """
import sys, keras
from keras import layers as L
keras.utils.set_random_seed(0)
keras.mixed_precision.set_global_policy(sys.argv[2])
i = L.Input(eval(sys.argv[3]))
keras.Model(i, L.Dense(4, dtype="float32")(LAYERS)).save(sys.argv[1])
"""
RECURRENT = (
    "L.Dense(16, activation='relu')(L.Bidirectional(L.LSTM(12))("
    "L.GRU(8, return_sequences=True)(i)))"
)
HALF = (
    "L.GlobalAveragePooling2D()(L.Conv2D(24, 3, activation='relu')("
    "L.BatchNormalization()(L.Conv2D(16, 3, use_bias=False)(i))))"
)


def make(python, code, *arguments):
    done = subprocess.run(
        [str(python), "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("deed", DEEDS)
def test_a_graph_that_writes_files_is_not_run(installed, tmp_path, capsys, deed):
    python, stranger = installed("tensorflow").python, tmp_path / "stranger"
    make(python, SAVED.replace("DEED", DEEDS[deed]), tmp_path / "saved", stranger)
    before = {p for p in tmp_path.iterdir() if p.name.startswith("stranger")}
    for path in before:
        path.unlink()
    order = ["export", str(tmp_path / "saved"), "-o", str(tmp_path / "o.onnx")]
    assert main(order) == 1
    said = capsys.readouterr().err
    assert deed in said
    assert "--trust" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["saved"]


def test_a_graph_that_writes_files_is_run_where_it_is_trusted(installed, tmp_path):
    python, stranger = installed("tensorflow").python, tmp_path / "stranger"
    make(python, SAVED.replace("DEED", DEEDS["PrintV2"]), tmp_path / "saved", stranger)
    order = ["export", str(tmp_path / "saved"), "-o", str(tmp_path / "o.onnx"), "--trust"]
    assert main(order) == 0
    assert stranger.exists()


def test_recurrent_layers_are_exported_step_by_step(installed, tmp_path, capsys):
    python, model = installed("tensorflow").python, tmp_path / "m.keras"
    make(python, KERAS.replace("LAYERS", RECURRENT), model, "float32", "(6, 5)")
    assert main(["prune", str(model), "-o", str(tmp_path / "o.onnx"), "--ratio", "0.3"]) == 0
    make(python, KERAS.replace("LAYERS", "L.LSTM(5)(i)"), model, "float32", "(None, 5)")
    assert main(["export", str(model), "-o", str(tmp_path / "o.onnx"), "--shape", "6x5"]) == 1
    assert "unroll=True" in capsys.readouterr().err


def test_half_precision_comes_back(installed, tmp_path):
    """And takes the old file's place in one step: its second name keeps what it was."""
    python, model, out = installed("tensorflow").python, tmp_path / "m.keras", tmp_path / "o.keras"
    make(python, KERAS.replace("LAYERS", HALF), model, "mixed_float16", "(16, 16, 3)")
    out.write_text("the old file")
    os.link(out, tmp_path / "second")
    order = ["--ratio", "0.5", "--scope", "local", "--plan", str(tmp_path / "p.json")]
    assert main(["prune", str(model), "-o", str(out), *order]) == 0
    assert (tmp_path / "second").read_text() == "the old file"
    assert out.stat().st_size > 1000
    assert (tmp_path / "p.json").is_file()
