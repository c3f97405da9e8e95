"""Files of strangers: they take no memory, hang nothing, and write no line that is not theirs."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from spa.graph import function_size
from tests.cli.conftest import save
from tests.graphs import classifier

ESCAPE, LINE, C1, LONG = (
    "\x1b[2J\x1b]0;owned\x07",
    "\nverified: all is well\n",
    "\x9b2J\u202e",
    "n" * 10**6,
)


def renamed(text):
    """A classifier with a text behind the names of weights, nodes and tensors."""
    proto = classifier()
    outer = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    for tensor in proto.graph.initializer:
        tensor.name += text
    for node in proto.graph.node:
        node.name += text
        for names in (node.input, node.output):
            for k, name in enumerate(names):
                names[k] = name if name in outer or not name else name + text
    return proto


@pytest.mark.parametrize("text", [ESCAPE, LINE, C1, LONG], ids=["escape", "line", "c1", "long"])
def test_names_write_nothing_of_their_own(good, tmp_path, text):
    path = save(renamed(text), tmp_path / "m.onnx")
    for arguments in (
        ("inspect", path),
        ("prune", path, "-o", tmp_path / "o.onnx", "--rf", "1.5", "--plan", tmp_path / "p.json"),
        ("verify", path, tmp_path / "o.onnx", "--plan", tmp_path / "p.json"),
        ("apply", path, "--plan", tmp_path / "p.json", "-o", tmp_path / "again.onnx"),
        ("profile", path, tmp_path / "o.onnx"),
    ):
        said = good(*arguments).out
        assert LINE not in said
        assert all(line.isprintable() for line in said.splitlines())
        assert len(max(said.splitlines(), key=len)) < 5000


def _operator(proto):
    proto.graph.node[1].op_type += ESCAPE + LINE


def _missing(proto):
    proto.graph.node[1].input[0] += ESCAPE + LINE


def _endless_name(proto):
    proto.graph.node[1].input[0] = LONG


@pytest.mark.parametrize("spoil", [_operator, _missing, _endless_name])
def test_messages_neither(refused, tmp_path, spoil):
    proto = classifier()
    spoil(proto)
    line = refused("inspect", save(proto, tmp_path / "m.onnx"))
    assert line.isprintable()
    assert LINE not in line


def _text_input(proto):
    proto.graph.input.append(helper.make_tensor_value_info("s", TensorProto.STRING, ["N"]))
    proto.graph.node.append(helper.make_node("Identity", ["s"], ["s2"]))
    proto.graph.output.append(helper.make_tensor_value_info("s2", TensorProto.STRING, ["N"]))


def _segment(proto):
    proto.graph.initializer[0].segment.end = 3


def _huge_opset(proto):
    proto.opset_import[0].version = 2**62


def _reference(proto):
    next(n for n in proto.graph.node if n.attribute).attribute[0].ref_attr_name = "z"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(_text_input, "text"), (_segment, "segment"), (_huge_opset, "opset"), (_reference, "refers")],
)
def test_what_is_at_fault_is_named(refused, tmp_path, spoil, words):
    proto = classifier()
    spoil(proto)
    path = save(proto, tmp_path / "m.onnx")
    for arguments in (("inspect", path), ("prune", path, "-o", tmp_path / "o.onnx", "--rf", 2)):
        assert words in refused(*arguments)


def bomb(depth, width, *, circle=False):
    """Functions that call the next one some times each; the last one is a Relu."""
    proto = classifier()
    opsets = [proto.opset_import[0], helper.make_opsetid("own", 1)]
    proto.opset_import.append(opsets[1])
    for level in range(depth):
        steps = ["a", *(f"t{k}" for k in range(width - 1)), "b"]
        name, domain = (f"F{level + 1}", "own") if level < depth - 1 else ("Relu", "")
        if circle and level == depth - 1:
            name, domain = "F0", "own"
        calls = [
            helper.make_node(name, [i], [o], domain=domain)
            for i, o in zip(steps, steps[1:], strict=False)
        ]
        proto.functions.append(
            helper.make_function("own", f"F{level}", ["a"], ["b"], calls, opsets)
        )
    node = next(n for n in proto.graph.node if n.op_type == "Relu")
    node.op_type, node.domain = "F0", "own"
    return proto


@pytest.mark.parametrize(
    "made", [bomb(10, 10), bomb(150, 1), bomb(5000, 1), bomb(3, 2, circle=True)]
)
def test_functions_that_would_grow_without_end(refused, tmp_path, made):
    assert "inlined" in refused("inspect", save(made, tmp_path / "m.onnx"))


def test_functions_that_do_not(good, tmp_path):
    made = bomb(3, 2)
    assert (
        len(made.graph.node) + 7
        == good("inspect", save(made, tmp_path / "m.onnx"), "--json").document["nodes"]
    )


def test_nodes_of_subgraphs_in_functions_count(monkeypatch):
    made = bomb(2, 10)
    inner = helper.make_graph(
        list(made.functions[0].node), "g", [], [helper.make_tensor_value_info("b", 1, None)]
    )
    call = helper.make_node("If", ["c"], ["b"], then_branch=inner, else_branch=inner)
    del made.functions[0].node[:]
    made.functions[0].node.append(call)
    monkeypatch.setattr(function_size, "MAX_NODES", 200)
    with pytest.raises(function_size.ModelError, match="217 nodes"):
        function_size.check_inlined_size(made)


@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "folder"])
def test_what_is_no_file_is_not_waited_for(refused, model, tmp_path, place):
    if place == "pipe":
        os.mkfifo(tmp_path / place)
    elif place == "folder":
        (tmp_path / place).mkdir()
    place = tmp_path / place if place[0] != "/" else place
    out = ("-o", tmp_path / "o.onnx", "--rf", 2)
    for arguments in (
        ("apply", model, "--plan", place, "-o", tmp_path / "o.onnx"),
        ("verify", model, model, "--plan", place),
        ("prune", model, *out, "--criterion", "snip", "--data", place),
        ("prune", model, *out, "--finetune", place),
    ):
        assert "device or pipe" in refused(*arguments)


def test_an_archive_that_unpacks_to_more_than_there_is(refused, model, tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as entry,
    ):
        np.lib.format.write_array_header_1_0(
            entry, {"descr": "<f4", "fortran_order": False, "shape": (2**24,)}
        )
        for _ in range(64):
            entry.write(bytes(2**20))
    monkeypatch.setattr(os, "sysconf", lambda name: 2**12)  # 16 MiB
    for option in (("--finetune",), ("--criterion", "snip", "--data")):
        line = refused("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2, *option, path)
        assert "unpacks to" in line


def test_a_plan_with_an_endless_number(refused, model, tmp_path):
    plan = tmp_path / "p.json"
    plan.write_text('{"schema": ' + "1" * 5000 + ', "parameters": []}')
    assert "JSON" in refused("apply", model, "--plan", plan, "-o", tmp_path / "o.onnx")


def test_python_that_leaves_docstrings_and_asserts_out(model, tmp_path):
    for arguments in (("--version",), ("prune", model, "-o", tmp_path / "o.onnx", "--rf", "2")):
        command = [sys.executable, "-OO", "-m", "spa", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert onnx.load(tmp_path / "o.onnx").graph.node
