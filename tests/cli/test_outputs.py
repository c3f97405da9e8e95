"""Where results go: never half a file, never over something dear, nothing left behind."""

import os
import stat
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

import spa
from spa.errors import OutputError
from spa.graph import write
from tests.cli.conftest import save, tree
from tests.graphs import classifier


@pytest.fixture
def places(tmp_path):
    """Paths that cannot be written, root or not."""
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "missing" / "out.onnx")
    return [
        tmp_path / "missing" / "out.onnx", tmp_path / "file" / "out.onnx", tmp_path / "folder",
        tmp_path / "dangling", "/proc/out.onnx", "/dev/null", tmp_path / ("x" * 300), ".", "",
    ]  # fmt: skip


def weights(proto):
    return {t.name: onnx.numpy_helper.to_array(t).tobytes() for t in proto.graph.initializer}


def test_outputs_that_cannot_be_written(pruned, refused, places, tmp_path):
    model, _, plan = pruned
    for place in places:
        refused("prune", model, "-o", place, "--rf", 2)
        refused("prune", model, "-o", tmp_path / "o.onnx", "--plan", place, "--rf", 2)
        refused("apply", model, "--plan", plan, "-o", place)


def test_they_are_refused_before_the_work(refused, tmp_path):
    line = refused("prune", tmp_path / "no_model", "-o", tmp_path / "no" / "o.onnx", "--rf", 2)
    assert "o.onnx" in line


def test_read_only_places(model, refused, tmp_path, monkeypatch):
    """As the system refuses it, since root may write everywhere."""

    def denied(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(write.tempfile, "mkstemp", denied)
    assert "Permission denied" in refused("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2)


def test_a_read_only_file_stays(model, refused, tmp_path, monkeypatch):
    out = tmp_path / "o.onnx"
    out.write_text("dear")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "read-only" in refused("prune", model, "-o", out, "--rf", 2)


def test_one_file_for_two_things(pruned, refused, tmp_path):
    model, _, plan = pruned
    data = tmp_path / "data.npz"
    np.savez(data, x=np.zeros((4, 3, 8, 8)), y=np.zeros(4, np.int64))
    (tmp_path / "link.onnx").symlink_to(model)
    for arguments in (
        ("prune", model, "-o", tmp_path / "o", "--plan", tmp_path / "o", "--rf", 2),
        ("prune", model, "-o", tmp_path / "o", "--plan", tmp_path / "." / "o", "--rf", 2),
        ("prune", model, "-o", tmp_path / "o", "--plan", model, "--rf", 2),
        ("prune", model, "-o", tmp_path / "o", "--plan", tmp_path / "link.onnx", "--rf", 2),
        ("prune", model, "-o", data, "--data", data, "--criterion", "snip", "--rf", 2),
        ("apply", model, "-o", plan, "--plan", plan),
    ):
        assert "same file" in refused(*arguments)


def test_a_link_is_written_through(model, good, tmp_path):
    target, link = tmp_path / "v1.onnx", tmp_path / "latest.onnx"
    target.write_text("old")
    link.symlink_to(target.name)
    good("prune", model, "-o", link, "--rf", 2)
    assert link.is_symlink()
    onnx.checker.check_model(str(target))


def test_permissions_follow_the_umask(model, good, tmp_path):
    old = os.umask(0o027)
    try:
        good("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "o.onnx").stat().st_mode) == 0o640


def test_the_longest_name_that_a_file_can_have(model, good, tmp_path):
    out = tmp_path / ("n" * 250 + ".onnx")
    good("prune", model, "-o", out, "--rf", 2)
    assert out.is_file()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ["plan", "model", "rename"])
def test_a_write_that_fails_leaves_what_was_there(model, spa_, tmp_path, monkeypatch, error, at):
    out, plan = tmp_path / "o.onnx", tmp_path / "p.json"
    out.write_text("old model")
    plan.write_text("old plan")
    before = tree(tmp_path)

    def fail(*arguments, **options):
        raise error

    kind = type(tmp_path)
    name = {"plan": "write_text", "model": "write_bytes"}.get(at)
    monkeypatch.setattr(*((kind, name) if name else (os, "replace")), fail)
    result = spa_("prune", model, "-o", out, "--plan", plan, "--rf", 2)
    monkeypatch.undo()
    assert result.code == (1 if isinstance(error, OSError) else 130)
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    if isinstance(error, OSError):
        assert "No space left on device" in result.err
        assert (str(out) if at == "model" else str(plan)) in result.err
    assert tree(tmp_path) == before


def test_a_killed_write_leaves_no_half_file(model, tmp_path):
    """The process dies with half of its bytes written; a reader still sees the old file."""
    out = tmp_path / "o.onnx"
    out.write_text("old")
    code = (
        "import os, pathlib, sys\n"
        "from spa.cli.main import main\n"
        "def die(self, data):\n"
        "    with self.open('wb') as file:\n"
        "        file.write(data[: len(data) // 2])\n"
        "    os.kill(os.getpid(), 9)\n"
        "pathlib.Path.write_bytes = die\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "prune", str(model), "-o", str(out), "--rf", "2"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == -9
    assert out.read_text() == "old"


def test_a_model_over_two_gigabytes_keeps_its_weights_beside_it(tmp_path, monkeypatch):
    """With the limit lowered, as a real one would not fit in a test."""
    monkeypatch.setattr(write, "MAX_INLINE_BYTES", 1000)
    path = tmp_path / "big.onnx"
    proto = classifier()
    write.write_model(path, proto)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    assert path.stat().st_size < len(proto.SerializeToString())
    onnx.checker.check_model(str(path), full_check=True)
    assert weights(onnx.load(str(path))) == weights(proto)
    x = {"x": np.ones((2, 3, 8, 8), np.float32)}
    (ours,), (theirs,) = (
        onnxruntime.InferenceSession(model).run(None, x)
        for model in (str(path), proto.SerializeToString())
    )
    np.testing.assert_array_equal(ours, theirs)

    # and in place: the weights that are read are those that are replaced
    result = spa.prune(path, rf=2)
    write.write_model(path, result.model)
    assert weights(onnx.load(str(path))) == weights(result.model)


def test_a_large_model_that_fails_halfway(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "MAX_INLINE_BYTES", 1000)
    path = tmp_path / "big.onnx"
    write.write_model(path, classifier())
    before = tree(tmp_path)

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write.write_model(path, classifier(seed=1))
    monkeypatch.undo()
    assert tree(tmp_path) == before


def test_metadata_survives(good, tmp_path):
    proto = classifier()
    proto.producer_name, proto.doc_string = "somebody", "a text"
    proto.metadata_props.add(key="licence", value="MIT")
    path = save(proto, tmp_path / "m.onnx")
    good("prune", path, "-o", tmp_path / "o.onnx", "--rf", 2)
    after = onnx.load(str(tmp_path / "o.onnx"))
    assert (after.producer_name, after.doc_string) == ("somebody", "a text")
    assert after.metadata_props == proto.metadata_props
    assert after.opset_import == proto.opset_import
    assert after.graph.input == proto.graph.input
    assert after.graph.output == proto.graph.output
