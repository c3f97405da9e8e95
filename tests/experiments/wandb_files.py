"""Reads what wandb wrote offline: its own log of records, by the format, not by its reader.

The file is LevelDB's log with another header: blocks of 32 KiB; in them chunks of a record, each
with a checksum, a length and whether it is the whole record or its first, middle or last part.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """Yield the protobuf records of a .wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = path.read_bytes()
    assert content[:4] == b":W&B"
    at, parts = 7, b""
    while at < len(content):
        left = BLOCK - at % BLOCK
        if left < 7:  # no room for a chunk's header: zeros
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        chunk = content[at + 7 : at + 7 + length]
        assert len(chunk) == length
        assert kind in (FULL, FIRST, MIDDLE, LAST)
        at += 7 + length
        parts = chunk if kind in (FULL, FIRST) else parts + chunk
        if kind in (FULL, LAST):
            yield Record.FromString(parts)


class Offline:
    """One run, as its .wandb file has it."""

    def __init__(self, path: Path) -> None:
        import wandb

        wandb.teardown()  # its process writes what is left when it ends
        self.folder = path.parent
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.artifacts: dict[str, Any] = {}
        self.metrics: dict[str, str] = {}
        self.exit_code: int | None = None
        for record in records(path):
            self._take(record)

    def _take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.run = record.run
            self.config |= values(record.run.config.update)
        elif kind == "history":
            self.history.append(values(record.history.item))
        elif kind == "summary":
            self.summary |= values(record.summary.update)
        elif kind == "artifact":
            self.artifacts[record.artifact.name] = record.artifact
        elif kind == "metric":
            name = record.metric.glob_name or record.metric.name
            self.metrics[name] = record.metric.step_metric
        elif kind == "exit":
            self.exit_code = record.exit.exit_code

    def rows(self) -> list[dict[str, Any]]:
        """The history's numbers, without wandb's own and without tables and pictures."""
        plain = [
            {k: v for k, v in row.items() if not (k.startswith("_") or isinstance(v, dict))}
            for row in self.history
        ]
        return [row for row in plain if row]

    def media(self, key: str) -> dict[str, Any]:
        """What the history says of a table or a picture."""
        (found,) = (row[key] for row in self.history if key in row)
        return found

    def table(self, key: str) -> tuple[list[str], list[list[Any]]]:
        """A logged table's columns and rows."""
        file = json.loads((self.folder / "files" / self.media(key)["path"]).read_text())
        return file["columns"], file["data"]


def values(items: Iterable[Any]) -> dict[str, Any]:
    """Read a record's keys and JSON values; a nested key leads into dicts."""
    found: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        inner = found
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(item.value_json)
    return found


def newest(folder: Path, stage: str) -> Offline:
    """Read the last try at a stage below a run's folder."""
    paths = sorted(folder.glob(f"wandb/offline-run-*-{stage}/run-*-{stage}.wandb"))
    return Offline(paths[-1])
