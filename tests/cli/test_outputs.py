"""Where results go: never half a file, never over something dear, nothing left behind."""

import json
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
from spa.graph import placing, write
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

    monkeypatch.setattr(placing.tempfile, "mkstemp", denied)
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
    own = tmp_path / "own.py"
    own.write_text("def mine(view):\n    raise AssertionError\n")
    (tmp_path / "link.onnx").symlink_to(model)
    for arguments in (
        ("prune", model, "-o", tmp_path / "o", "--plan", tmp_path / "o", "--rf", 2),
        ("prune", model, "-o", tmp_path / "o", "--plan", tmp_path / "." / "o", "--rf", 2),
        ("prune", model, "-o", tmp_path / "o", "--plan", model, "--rf", 2),
        ("prune", model, "-o", tmp_path / "o", "--plan", tmp_path / "link.onnx", "--rf", 2),
        ("prune", model, "-o", data, "--data", data, "--criterion", "snip", "--rf", 2),
        ("prune", model, "-o", model, "--rf", 2),
        ("prune", model, "-o", tmp_path / "link.onnx", "--rf", 2),
        (
            "prune",
            model,
            "-o",
            tmp_path / "o",
            "--plan",
            own,
            "--criterion",
            f"{own}:mine",
            "--rf",
            2,
        ),
        ("apply", model, "-o", plan, "--plan", plan),
        ("apply", model, "-o", model, "--plan", plan),
    ):
        assert "same file" in refused(*arguments)


@pytest.mark.parametrize("weights_name", ["w.bin", "o.onnx.data"])
def test_the_weights_of_the_input_are_no_place_for_a_result(refused, tmp_path, weights_name):
    dense = tmp_path / "m.onnx"
    onnx.save_model(
        classifier(),
        str(dense),
        save_as_external_data=True,
        location=weights_name,
        size_threshold=0,
    )
    (tmp_path / "link.onnx").symlink_to(weights_name)
    for arguments in (
        ("-o", tmp_path / weights_name),
        ("-o", tmp_path / "link.onnx"),
        ("-o", tmp_path / "p.onnx", "--plan", tmp_path / weights_name),
    ):
        assert "same file" in refused("prune", dense, *arguments, "--rf", 2)


@pytest.mark.parametrize(("model_name", "part"), [
    ("net-symbol.json", "net-0000.params"), ("net.npz", "net.json"), ("saved", "saved/variables/v"),
])  # fmt: skip
def test_files_of_a_framework_s_model_are_no_place_for_a_plan(refused, tmp_path, model_name, part):
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    for name in {model_name, part} - {"saved"}:
        (tmp_path / name).write_text("dear")
    line = refused(
        "prune",
        tmp_path / model_name,
        "-o",
        tmp_path / "o.onnx",
        "--plan",
        tmp_path / part,
        "--rf",
        2,
    )
    assert part.rpartition("/")[2] in line
    assert (tmp_path / part).read_text() == "dear"


def test_a_plan_beside_flax_variables_has_another_name(refused, tmp_path):
    arguments = ("-o", tmp_path / "o.npz", "--plan", tmp_path / "o.json", "--rf", 2)
    assert "same file" in refused("prune", tmp_path / "net.npz", *arguments)


@pytest.mark.parametrize("name", ["x.keras", "x.pt", "x.txt", "x.tflite", "x-symbol.json", "x"])
def test_an_ending_that_says_another_format(pruned, refused, tmp_path, name):
    model, _, plan = pruned
    for arguments in (("prune", model, "--rf", 2), ("apply", model, "--plan", plan)):
        assert ".onnx" in refused(*arguments, "-o", tmp_path / name)


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


def test_large_models_one_after_another(tmp_path, monkeypatch):
    """Each finds a name of its own for its weights; those that nothing reads any more go."""
    monkeypatch.setattr(write, "MAX_INLINE_BYTES", 1000)
    path, names = tmp_path / "big.onnx", []
    for seed in range(3):
        proto = classifier(seed=seed)
        write.write_model(path, proto)
        assert weights(onnx.load(str(path))) == weights(proto)
        names.append(sorted(file.name for file in tmp_path.iterdir()))
    assert [len(each) for each in names] == [2, 2, 2]
    monkeypatch.undo()
    write.write_model(path, classifier())
    assert [file.name for file in tmp_path.iterdir()] == ["big.onnx"]


@pytest.mark.parametrize("of_a_model", [False, True])
def test_weights_that_another_file_reads_stay(tmp_path, monkeypatch, of_a_model):
    """A copy of the model has the same weights; or the file is no weights of the model's."""
    monkeypatch.setattr(write, "MAX_INLINE_BYTES", 1000)
    path, data = tmp_path / "big.onnx", tmp_path / "big.onnx.data"
    if of_a_model:
        write.write_model(path, classifier())
        (tmp_path / "copy.onnx").write_bytes(path.read_bytes())
    else:
        data.write_text("dear")
    before = data.read_bytes()
    write.write_model(path, classifier(seed=1))
    assert data.read_bytes() == before
    assert weights(onnx.load(str(path))) == weights(classifier(seed=1))


def test_large_weights_lie_beside_what_a_link_names(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "MAX_INLINE_BYTES", 1000)
    for folder in ("versions", "current"):
        (tmp_path / folder).mkdir()
    link = tmp_path / "current" / "latest.onnx"
    link.symlink_to("../versions/v1.onnx")
    write.write_model(link, classifier())
    assert weights(onnx.load(str(tmp_path / "versions" / "v1.onnx"))) == weights(classifier())
    assert spa.load(link).proto.graph.node


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


def test_a_report_that_cannot_be_printed(model, tmp_path):
    """Stdout is full: one line says so, and what was written stays."""
    for arguments in (("inspect", model), ("prune", model, "-o", tmp_path / "o.onnx", "--rf", "2")):
        command = [sys.executable, "-m", "spa", *map(str, arguments)]
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=-1, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == "spa: error: stdout cannot be written: No space left on device.\n"
    assert (tmp_path / "o.onnx").is_file()


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_model_and_its_plan_that_a_kill_tore_apart(model, good, tmp_path, killed_after):
    """Whoever reads one of them next has both, the old ones or the new ones."""
    out, plan = tmp_path / "o.onnx", tmp_path / "p.json"
    good("prune", model, "-o", out, "--plan", plan, "--rf", 1.5)
    old = out.read_bytes()
    code = (
        "import os, sys\n"
        "from spa.cli.main import main\n"
        "real, calls = os.replace, []\n"
        "def replace(*paths):\n"
        "    real(*paths)\n"
        "    calls.append(paths)\n"
        f"    if len(calls) == {killed_after}:\n"
        "        os.kill(os.getpid(), 9)\n"
        "os.replace = replace\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "prune", model, "-o", out, "--plan", plan, "--rf", "3"]
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=120, check=False)
    assert done.returncode == -9
    good("verify", model, out, "--plan", plan)
    assert out.read_bytes() != old
    assert sorted(file.name for file in tmp_path.iterdir() if file != model) == ["o.onnx", "p.json"]


def test_a_note_of_a_stranger_moves_nothing(model, tmp_path):
    """It would have to name temporary files of SPA's in the folder itself."""
    dear = tmp_path / "dear.txt"
    dear.write_text("dear")
    here = tmp_path / "theirs"
    here.mkdir()
    path = save(classifier(), here / "m.onnx")
    (here / "evil").write_text("evil")
    for moves in (
        [["evil", "../dear.txt"]],
        [[".spa-a.tmp", "../dear.txt"]],
        {"a": 1},
        [[1, 2]],
        [[]],
    ):
        placing._note_of(path).write_text(json.dumps(moves))
        assert spa.load(path).proto.graph.node
        assert dear.read_text() == "dear"


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
