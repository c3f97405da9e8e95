"""Names to things in files of the same name."""

import sys
import textwrap

import pytest

from spa.errors import SettingError
from spa.registry import Registry


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Of a package with three files, one of them deeper, that say when they are imported."""
    package = tmp_path / "some_things"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__", "deep/__init__"):
        (package / f"{name}.py").write_text("")
    for path in ("one", "global_", "deep/two"):
        name = path.rpartition("/")[2].rstrip("_")
        (package / f"{path}.py").write_text(
            textwrap.dedent(f"""
            from some_registry import REGISTRY, imported
            imported.append("{name}")
            REGISTRY.add("{name}", "{name}'s thing")
            """)
        )
    holder = type(sys)("some_registry")
    holder.REGISTRY = Registry("thing", "some_things", package)
    holder.imported = []
    monkeypatch.setitem(sys.modules, "some_registry", holder)
    monkeypatch.syspath_prepend(tmp_path)
    yield holder
    for name in [name for name in sys.modules if name.startswith("some_things")]:
        del sys.modules[name]


def test_a_file_is_imported_when_its_name_is_asked_for(registry):
    assert registry.REGISTRY.names() == ("global", "one", "two")
    assert registry.imported == []
    assert registry.REGISTRY.get("two") == "two's thing"
    assert registry.REGISTRY.get("two") == "two's thing"
    assert registry.imported == ["two"]
    assert list(registry.REGISTRY.all()) == ["global", "one", "two"]
    assert sorted(registry.imported) == ["global", "one", "two"]


def test_a_name_that_is_not_there(registry):
    with pytest.raises(SettingError, match=r'no thing "twoo"\. Did you mean two\?'):
        registry.REGISTRY.get("twoo")


def test_what_is_added_apart_is_forgotten(registry):
    table = registry.REGISTRY
    with table.apart() as found:
        table.add("mine", "a thing of mine")
        table.add("one", "another one")  # in front of ours, for this while
        assert (table.get("mine"), table.get("one")) == ("a thing of mine", "another one")
        assert table.get("two") == "two's thing"
        assert table.names() == ("global", "mine", "one", "two")
    assert found == {"mine": "a thing of mine", "one": "another one"}
    assert table.names() == ("global", "one", "two")
    assert (table.get("one"), table.get("two")) == ("one's thing", "two's thing")


def test_no_name_is_taken_twice(registry):
    registry.REGISTRY.add("mine", "a thing of mine")
    with pytest.raises(AssertionError, match="thing mine is there twice"):
        registry.REGISTRY.add("mine", "again")
