"""What every worker does: read its orders, and write what came of them.

Workers run in a framework's own environment, so they import that framework, NumPy and the standard
library alone, and nothing of SPA. See ``spa/frameworks/process.py`` for the folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Inputs and labels.
Batch = tuple[Any, Any]
# Modules and files whose code may be run although a file asks for it.
ALLOWED: set[str] = set()
# Carries out an order of its own name, and gives JSON-ready values back.
Verb = Callable[["Orders"], "dict[str, Any] | None"]

# Seconds between two looks for a file that is not there yet.
GLANCE = 0.02
# Seconds that a process without calls keeps its framework loaded.
IDLE_SECONDS = 600.0


class Refusal(Exception):
    """Orders that make no sense; its text is for the user."""


class Orders:
    """Orders of one call.

    Attributes:
        spec: the JSON object that says what to do.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.spec = json.loads((self.folder / "spec.json").read_text())

    def array(self, name: str) -> Any:
        """An array that came along."""
        return np.load(self.folder / "in" / f"{name}.npy", allow_pickle=False)

    def send(self, name: str, array: Any) -> None:
        """Sends an array back."""
        np.save(self.folder / "out" / f"{name}.npy", np.asarray(array), allow_pickle=False)

    def report(self, **values: Any) -> None:
        """Sends JSON-ready values back: the last thing that a worker does."""
        (self.folder / "report.json").write_text(json.dumps(values))


def main(*verbs: Verb) -> None:
    """Carries out the orders of one call, in a copy of this process for each."""
    orders = Orders(_asked())
    ALLOWED.update(orders.spec.get("code", ()))
    try:
        (verb,) = (verb for verb in verbs if verb.__name__ == orders.spec["verb"])
        orders.report(**(verb(orders) or {}))
    except Refusal as error:
        sys.exit(str(error))


def _asked() -> str:
    """Waits for calls on standard input, a socket; returns only in copies of this process.

    There the folder of a call is returned, and output goes where the caller wants it. So what takes
    seconds, the framework's import, is done once, and no call sees what another one changed. The
    framework must not have begun to work by then: threads do not come along.

    A caller that goes away ends its call, and this process; so does a caller that has nothing to
    ask for so long that the memory of a framework is not worth keeping.
    """
    line = socket.socket(fileno=os.dup(0))
    while True:
        if not select.select([line], [], [], IDLE_SECONDS)[0]:
            sys.exit()
        text, files, _, _ = socket.recv_fds(line, 2**16, 2)
        while text and not text.endswith(b"\n"):  # more than the socket gives at once
            more = line.recv(2**16)
            text = text + more if more else b""
        if not text:
            sys.exit()
        alive, dead = os.pipe()  # the copy has the other end of it, until it ends
        pid = os.fork()
        if pid == 0:
            for file, number in ((os.open(os.devnull, os.O_RDONLY), 0), (files[0], 1),
                                 (files[1], 2)):  # fmt: skip
                os.dup2(file, number)
                os.close(file)
            os.close(alive)
            line.close()
            call = json.loads(text)
            os.environ.clear()
            os.environ.update(call["environment"])
            os.chdir(call["from"])
            np.random.seed()  # or all copies would draw the same
            return str(call["folder"])
        for file in (*files, dead):
            os.close(file)
        if line.fileno() in select.select([line.fileno(), alive], [], [])[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(alive)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        line.sendall(f"{code}\n".encode())


def tell(**values: Any) -> None:
    """Prints an object for the process that called."""
    print(json.dumps(values), flush=True)


def builder(text: str) -> Callable[..., Any]:
    """The function that ``module:function`` or ``path/to/file.py:function`` names."""
    place, _, name = text.rpartition(":")
    if not place:
        raise Refusal(f'"{text}" names no function; write module:function or file.py:function')
    if place.endswith(".py"):
        module = _file(Path(place))
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(place)
    if not hasattr(module, name):
        raise Refusal(f'{place} has no function "{name}"')
    return getattr(module, name)


def _file(path: Path) -> Any:
    """The module that a file holds; its neighbours may be imported, as if it were run.

    Neither it nor they stand in for packages of the same name, which a framework may import later.
    """
    if not path.is_file():
        raise Refusal(f"there is no file {path}")
    # A neighbour called `common` is not this file.
    workers = Path(__file__).parent.resolve()
    sys.path[:] = [place for place in sys.path if not place or Path(place).resolve() != workers]
    if (
        Path(getattr(sys.modules.get("common"), "__file__", None) or ".").resolve().parent
        == workers
    ):
        del sys.modules["common"]
    sys.path.append(str(path.parent.resolve()))
    name = f"{path.stem} of {path.parent.resolve()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # classes look for the module that they come from
    spec.loader.exec_module(module)
    return module


def is_allowed(text: str) -> bool:
    """Whether the code of a builder may be run although a file asks for it."""
    return full_place(text.rpartition(":")[0]) in ALLOWED


def full_place(place: str) -> str:
    """A module's name as it is, or a file's full path."""
    return str(Path(place).resolve()) if place.endswith(".py") else place


def not_allowed(text: str, model: str | Path) -> str:
    """What to say where a model's file asks for code that nobody named."""
    place = text.rpartition(":")[0]
    return (
        f'{model} says that code in "{place}" builds it. Code is run where you name it: '
        f"--code {place} (if you trust it)."
    )


def stored_builder(text: str, model: str | Path) -> Callable[..., Any]:
    """As `builder`, of a name that stands in a file: its code must have been named by the user."""
    if not is_allowed(text):
        raise Refusal(not_allowed(text, model))
    return builder(text)


def absolute(text: str) -> str:
    """A builder's name that holds in other folders too."""
    place, _, name = text.rpartition(":")
    return f"{full_place(place)}:{name}" if place else text


def taken(function: Callable[..., Any], arguments: Mapping[str, Any], **offered: Any) -> Any:
    """Arguments for a builder: all that are given, and what is offered if it has a name for it."""
    known = inspect.signature(function).parameters
    return {**{k: v for k, v in offered.items() if k in known}, **arguments}


def fitting(path: str | Path, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The arrays of a file (.npz), one for each name, of the shapes that a network's weights have.

    Raises:
        Refusal: one is missing, superfluous, or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise Refusal(f"{path} cannot be read as an .npz of weights: {error}") from error
    for problem, names in (
        ("lacks", shapes.keys() - arrays.keys()),
        ("has, and the network does not,", arrays.keys() - shapes.keys()),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise Refusal(
                f'{path} {problem} "{min(names)}"{more}; weights go by the framework\'s own names'
            )
    for name, array in arrays.items():
        if array.shape != tuple(shapes[name]):
            raise Refusal(
                f'"{name}" has shape {array.shape} in {path}, but {tuple(shapes[name])} in the '
                "network"
            )
    return arrays


def epochs(folder: str | Path) -> Iterator[tuple[Iterator[Batch], list[float]]]:
    """What is handed over to train on: for every epoch, batches (x, y), and their learning rates.

    See ``spa/frameworks/feed.py`` for the files.
    """
    folder = Path(folder)
    head = json.loads((folder / "feed.json").read_text())
    for epoch, rates in enumerate(head["rates"]):
        yield _batches(folder, epoch, head), rates


def all_rates(folder: str | Path) -> list[float]:
    """The learning rates of all steps, one epoch after another."""
    head = json.loads((Path(folder) / "feed.json").read_text())
    return [rate for rates in head["rates"] for rate in rates]


def _batches(folder: Path, epoch: int, head: dict[str, Any]) -> Iterator[Batch]:
    for part in range(head["parts"]):
        path = folder / f"{epoch:05d}-{part:05d}.npz"
        while not path.exists():
            if (folder / "broken").exists():
                raise Refusal((folder / "broken").read_text())
            time.sleep(GLANCE)
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
        path.unlink()
        for start in range(0, len(y), head["batch"]):
            yield x[start : start + head["batch"]], y[start : start + head["batch"]]


def examples(orders: Orders, shapes: Any) -> list[list[Any]]:
    """Random inputs of two batch sizes, for inputs of some shapes; sent along with the answer."""
    rng = np.random.default_rng(0)
    made = []
    for i, batch in enumerate((2, 3)):
        made.append([rng.standard_normal((batch, *shape)).astype(np.float32) for shape in shapes])
        for j, array in enumerate(made[-1]):
            orders.send(f"example_{i}_{j}", array)
    return made


def send_outputs(orders: Orders, stem: str, i: int, outputs: Any) -> None:
    """Sends a model's outputs for one example."""
    for j, array in enumerate(outputs):
        orders.send(f"{stem}_{i}_{j}", array)


def send_variables(orders: Orders, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Sends a model's variables; returns what the report says of them."""
    for i, array in enumerate(variables.values()):
        orders.send(f"variable_{i}", array)
    return {"variables": list(variables)}


def new_values(orders: Orders) -> dict[str, Any]:
    """Values of variables that are not what is left of the old ones."""
    return {name: orders.array(f"value_{i}") for i, name in enumerate(orders.spec["values"])}


def without(array: Any, removed: list[tuple[int, list[int]]]) -> Any:
    """An array less some indices of some axes."""
    for axis, indices in removed:
        array = np.delete(array, indices, axis)
    return array


def channels_last(x: Any) -> Any:
    """Pictures (N, C, H, W) as (N, H, W, C); anything else as it is."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim == 4 else x


def smooth(y: Any, classes: int, smoothing: float) -> Any:
    """One-hot labels (N, classes), smoothed."""
    hot = np.full((len(y), classes), smoothing / classes, np.float32)
    hot[np.arange(len(y)), y] += 1.0 - smoothing
    return hot


def is_plain(vector: Any) -> bool:
    """Whether a scale, shift or statistic has not been trained: all of its entries are equal."""
    return vector.size > 1 and bool((vector == vector.flat[0]).all())


def woken(vector: Any, rng: Any, positive: bool) -> Any:
    """Other values for a norm's vector: around one if they must be positive, else around zero."""
    draw = rng.uniform(0.5, 1.5, vector.shape) if positive else rng.uniform(-0.3, 0.3, vector.shape)
    return draw.astype(vector.dtype)
