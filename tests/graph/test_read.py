"""Files that are no model, damaged, or point outside: one `ModelError` that names what is wrong."""

import hashlib
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from spa.graph import read, weightless
from spa.graph.deferred import array_of, defer
from spa.graph.read import all_tensors, external_files, parse_model, read_model
from tests.graphs import classifier, node_of


@pytest.fixture
def model_file(tmp_path):
    """The default model in a folder of its own."""
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(classifier(), folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture(params=["held", "deferred"])
def external_file(request, tmp_path, monkeypatch):
    """The default model with its weights in ``weights.bin`` beside it, which may be left there."""
    if request.param == "deferred":
        monkeypatch.setattr(read, "MAX_HELD_BYTES", -1)
        monkeypatch.setattr(weightless, "LARGE", 1)
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="weights.bin",
              size_threshold=0)  # fmt: skip
    return path


def _move(path, location, **entries):
    """Lets every external weight of a file point elsewhere."""
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
            elif entry.key in entries:
                entry.value = str(entries[entry.key])
    path.write_bytes(proto.SerializeToString())


def _weights(proto):
    return {t.name: array_of(t).tobytes() for t in proto.graph.initializer}


# --- the file itself -----------------------------------------------------------------------------


def test_a_file_and_its_hash(model_file):
    proto, sha256 = read_model(model_file)
    assert proto == classifier()
    assert sha256 == hashlib.sha256(model_file.read_bytes()).hexdigest()
    assert spa.load(str(model_file)).sha256 == sha256


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\0" * 1000, "not an ONNX model"),
        (b"once upon a time " * 50, "not an ONNX model"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not an ONNX model"),
        (b"\x08\x08", "holds no graph"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "holds no graph"),
    ],
)
def test_bytes_that_are_no_model(tmp_path, content, words):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(spa.ModelError, match=words) as caught:
        spa.load(path)
    assert "bad.onnx" in str(caught.value)


@pytest.mark.parametrize("kept", [0.001, 0.1, 0.25, 0.5, 0.75, 0.99])
def test_a_truncated_file(model_file, kept):
    content = model_file.read_bytes()
    model_file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(spa.ModelError):
        spa.load(model_file)


def test_every_single_cut_of_a_small_file_is_refused_or_still_a_model():
    """Wherever the file ends, nothing but `ModelError` comes out."""
    content = parse_model(classifier().SerializeToString(), "m").SerializeToString()
    step = max(1, len(content) // 150)
    for end in range(0, len(content), step):
        try:
            spa.load(parse_model(content[:end], "cut"))
        except (spa.ModelError, spa.InputError):
            continue


def test_a_folder_a_pipe_and_nothing(tmp_path):
    with pytest.raises(spa.ModelError, match="is a folder"):
        spa.load(tmp_path)
    with pytest.raises(spa.ModelError, match="does not exist"):
        spa.load(tmp_path / "nothing.onnx")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(spa.ModelError, match="device or pipe"):
        spa.load(tmp_path / "pipe")
    link = tmp_path / "loop"
    link.symlink_to(link)
    with pytest.raises(spa.ModelError):
        spa.load(link)


# --- external data -------------------------------------------------------------------------------


def test_external_data_beside_the_file(external_file):
    proto, _ = read_model(external_file)
    assert _weights(proto) == _weights(classifier())
    assert external_files(external_file) == [external_file.parent / "weights.bin"]
    assert spa.prune(external_file, rf=1.5).proof.equal


def test_external_data_in_a_folder_below(external_file):
    below = external_file.parent / "below"
    below.mkdir()
    (external_file.parent / "weights.bin").rename(below / "weights.bin")
    _move(external_file, "below/weights.bin")
    assert _weights(read_model(external_file)[0]) == _weights(classifier())


@pytest.mark.parametrize("how", ["..", "through a folder", "absolute", "symlink", "linked folder"])
def test_external_data_outside_the_folder(external_file, tmp_path, how):
    """Also where the file is there and readable: a model must not leak what lies elsewhere."""
    folder = external_file.parent
    secret = tmp_path / "secret.bin"
    (folder / "weights.bin").rename(secret)
    if how == "symlink":
        (folder / "weights.bin").symlink_to(secret)
    elif how == "linked folder":
        (folder / "below").symlink_to(tmp_path)
        _move(external_file, "below/secret.bin")
    else:
        (folder / "below").mkdir()
        outside = {"..": "../secret.bin", "through a folder": "below/../../secret.bin"}
        _move(external_file, outside.get(how, str(secret)))
    with pytest.raises(spa.ModelError, match="outside the model's folder"):
        spa.load(external_file)


@pytest.mark.parametrize("location", ["", "nul\0byte", "x" * 5000])
def test_external_data_without_a_usable_name(external_file, location):
    _move(external_file, location)
    with pytest.raises(spa.ModelError):
        spa.load(external_file)


def test_missing_external_data(external_file):
    (external_file.parent / "weights.bin").unlink()
    with pytest.raises(spa.ModelError, match=r'"weights.bin".* is missing'):
        spa.load(external_file)


def test_deferred_words_mean_nothing_in_a_file(external_file):
    """Not even those of this very process: a file names files."""
    tensor = defer("w", 1, [2], lambda: np.ones(2, np.float32))
    _move(external_file, tensor.external_data[0].value)
    with pytest.raises(spa.ModelError, match="is missing"):
        spa.load(external_file)


@pytest.mark.parametrize("left", [0, 1, 100, 0.5])
def test_truncated_external_data(external_file, left):
    data = external_file.parent / "weights.bin"
    content = data.read_bytes()
    data.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    with pytest.raises(spa.ModelError):
        spa.load(external_file)


@pytest.mark.parametrize(
    "entries", [{"offset": 10**9}, {"offset": -8}, {"length": 10**18}, {"length": "many"}]
)
def test_external_data_at_no_place(external_file, entries):
    _move(external_file, "weights.bin", **entries)
    with pytest.raises(spa.ModelError):
        spa.load(external_file)


# --- the graph -----------------------------------------------------------------------------------


def _damage_missing_initializer(proto):
    proto.graph.initializer.remove(proto.graph.initializer[0])


def _damage_unknown_operator(proto):
    node_of(proto, "Relu").op_type = "Swishy"


def _damage_unsorted(proto):
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(proto.graph.node)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _damage_cyclic(proto):
    first, last = proto.graph.node[0], proto.graph.node[-2]
    first.input[0] = last.output[0]


def _damage_reads_itself(proto):
    node = node_of(proto, "Relu")
    node.input[0] = node.output[0]


def _damage_made_twice(proto):
    first, second = node_of(proto, "Relu"), node_of(proto, "Relu", 1)
    second.output[0] = first.output[0]


def _damage_output_of_nothing(proto):
    proto.graph.output[0].name = "ghost"


def _damage_no_output(proto):
    del proto.graph.output[:]


def _damage_short_weight(proto):
    tensor = proto.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-4]


def _damage_wrong_shape(proto):
    proto.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.ones((8, 4, 3, 3), np.float32), proto.graph.initializer[0].name)
    )


def _damage_bad_type(proto):
    proto.graph.initializer[0].data_type = 77


def _damage_no_inputs_of_a_node(proto):
    del node_of(proto, "Conv").input[:]


def _damage_bad_attribute(proto):
    node_of(proto, "Conv").attribute.append(helper.make_attribute("group", "many"))


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("_damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__[8:])
def test_damaged_graphs(tmp_path, damage):
    proto = classifier()
    damage(proto)
    path = tmp_path / "damaged.onnx"
    path.write_bytes(proto.SerializeToString())
    # Where the damage could as well be a wrong guess of the free batch size, it is `InputError`.
    with pytest.raises((spa.ModelError, spa.InputError)) as caught:
        spa.load(path)
    assert "damaged.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "/onnxruntime" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_damage_missing_initializer, '"w0", which is neither an input'),
        (_damage_unknown_operator, 'Swishy "n_relu_0" is in no ONNX operator set'),
        (_damage_cyclic, "nor made by an earlier node"),
        (_damage_unsorted, "nor made by an earlier node"),
        (_damage_output_of_nothing, '"ghost" is made by no node'),
        (_damage_no_output, "declares no output"),
    ],
)
def test_messages_name_what_is_wrong(damage, words):
    proto = classifier()
    damage(proto)
    with pytest.raises(spa.ModelError, match=words):
        spa.load(proto)


@pytest.mark.parametrize("opset", [1, 6])
def test_an_opset_that_is_too_old(opset):
    proto = classifier(opset=9)
    proto.opset_import[0].version = opset
    with pytest.raises(spa.ModelError, match=f"opset {opset}; SPA reads opset 7 and up"):
        spa.load(proto)


def test_no_opset_at_all():
    proto = classifier()
    del proto.opset_import[:]
    with pytest.raises(spa.ModelError, match="opset 1"):
        spa.load(proto)


def test_tensors_of_subgraphs_and_attributes_are_found():
    then = helper.make_graph(
        [helper.make_node("Constant", [], ["t"], value=numpy_helper.from_array(np.ones(2), "a"))],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.DOUBLE, [2])],
        [numpy_helper.from_array(np.ones(3), "b")],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=then)
    graph = helper.make_graph([node], "g", [], [], [numpy_helper.from_array(np.ones(1), "c0")])
    assert sorted(t.name for t in all_tensors(graph)) == ["a", "a", "b", "b", "c0"]
