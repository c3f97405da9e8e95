"""A look at the command line before Hydra sees it, for one clear line about a wrong name.

Hydra's own messages are right, but long. Only what is surely wrong is refused here: a choice
that its group does not offer, and a key that the configuration does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from experiments.ground import parts
from experiments.ground.registry import unknown
from spa.errors import SettingError


def with_estimate(argv: list[str]) -> list[str]:
    """Return the command line with the setting that ``--estimate`` stands for."""
    rest = [word for word in argv if word != "--estimate"]
    if len(rest) == len(argv):
        return argv
    # Beside the other settings: they must stand together.
    settings = (i for i, word in enumerate(rest) if "=" in word and not word.startswith("-"))
    place = next(settings, len(rest))
    return [*rest[:place], "estimate=true", *rest[place:]]


def with_parts(argv: list[str], conf: Path) -> list[str]:
    """Load a user's own parts, which ``--include PATH`` or ``parts=[PATH]`` names.

    Args:
        argv: the command line.
        conf: the folder of the configuration; an experiment's file may name parts too.

    Returns:
        the command line as Hydra takes it, with ``parts=[...]``.

    Raises:
        SettingError: they are not there, or cannot be loaded.
    """
    found: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        key, equals, value = word.partition("=")
        if key == "--include":
            found.append(value if equals else next(words, ""))
        elif key == "parts":
            found += _listed(word)
        else:
            rest.append(word)
            file = conf / "experiment" / f"{value}.yaml"
            if key == "experiment" and file.is_file():
                found += yaml.safe_load(file.read_text()).get("parts", [])
    if not found:
        parts.load()
        return argv
    if "" in found:
        raise SettingError("--include needs a file or a folder")
    parts.ask(found)
    parts.load()
    quoted = (path.replace("\\", "\\\\").replace("'", "\\'") for path in found)
    listed = ",".join(f"'{path}'" for path in quoted)
    # Right behind the other settings: what follows an option behind them is no setting to argparse.
    settings = [i for i, word in enumerate(rest) if "=" in word and not word.startswith("-")]
    place = settings[-1] + 1 if settings else len(rest)
    return [*rest[:place], f"parts=[{listed}]", *rest[place:]]


def _listed(word: str) -> list[str]:
    """The paths of ``parts=PATH`` or ``parts=[PATH,...]``."""
    try:
        given: Any = OverridesParser.create().parse_override(word).value()
    except HydraException as error:
        raise SettingError(" ".join(str(error).split())) from error
    if given is None or isinstance(given, (str, list)):
        return [given] if isinstance(given, str) else list(map(str, given or []))
    raise SettingError(f"parts is a list of files and folders, but {word} is given")


def check(
    argv: list[str],
    conf: Path,
    registered: Mapping[str, Callable[[], Iterable[str]]],
    families: tuple[str, ...] = (),
) -> None:
    """Check overrides of the form key=value.

    Args:
        argv: the command line.
        conf: the folder of the configuration; its files are choices too.
        registered: by group, what lists the names that need no file; asked where they matter.
        families: what a model may begin with, whatever follows.

    Raises:
        SettingError: a name is unknown; near matches are offered.
    """
    stored = {path.name: {file.stem for file in path.glob("*.yaml")} for path in conf.iterdir()}
    groups = {group for group, names in stored.items() if names} | set(registered)
    config = yaml.safe_load((conf / "config.yaml").read_text())
    for argument in argv:
        key, equals, value = argument.partition("=")
        if argument.startswith("-") or not equals or key.startswith(("+", "~")) or "@" in key:
            continue
        head, _, rest = key.partition(".")
        if head.partition("/")[0] == "hydra":
            continue
        if head not in groups and head not in config:
            raise unknown("setting", head, [*groups, *(key for key in config if key != "defaults")])
        section = config.get(head)
        if rest and head not in groups and rest not in (section or {}):
            raise unknown("setting", key, [f"{head}.{name}" for name in section or {}])
        if head in groups and not rest:
            more = registered.get(head, tuple)()
            _check_choices(head, value, stored.get(head, set()) | set(more), families)


def _check_choices(group: str, value: str, names: set[str], families: tuple[str, ...]) -> None:
    if any(mark in value for mark in "(*{["):  # choice(...), glob(...): Hydra's own
        return
    if group == "experiment" and "," in value:
        raise SettingError(f"one experiment at a time, but experiment={value} is given")
    for choice in value.split(","):
        name = choice.strip().strip("'\"")
        if not name:
            raise SettingError(f"{group}= needs a name; known: {', '.join(sorted(names))}")
        if group == "model" and families and name.startswith(families):
            continue
        if name not in names:
            raise unknown(group, name, names)
