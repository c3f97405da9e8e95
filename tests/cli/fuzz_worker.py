"""``python -m tests.cli.fuzz_worker FOLDER FIRST LAST``: `spa prune` on damaged models.

Runs in a process of its own with little memory. Prints a JSON line before and after each file, so
that whoever reads them knows which file ended the process.
"""

import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path

import torch  # noqa: F401  its libraries map much; they shall not count against the limit

from spa.cli.main import main
from spa.graph import example, execute
from tests.cli.mutations import mutate
from tests.graphs import classifier

SECONDS = 20
BYTES = 4 * 2**30


def mapped() -> int:
    """Bytes of address space in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def attempt(folder: Path, seed: int) -> dict:
    done, content = mutate(classifier(), seed)
    model, out = folder / "fuzz.onnx", folder / "out.onnx"
    model.write_bytes(content)
    with contextlib.ExitStack() as stack:
        # At the level of descriptors: libraries in C++ speak there.
        saved = {fd: os.dup(fd) for fd in (1, 2)}
        files = {fd: stack.enter_context((folder / f"said_{fd}").open("w+b")) for fd in (1, 2)}
        sys.stdout.flush()
        try:
            for fd, file in files.items():
                os.dup2(file.fileno(), fd)
            signal.alarm(SECONDS)  # ends the process, whatever it is in
            code = main(["prune", str(model), "-o", str(out), "--rf", "1.5", "--json"])
        finally:
            signal.alarm(0)
            sys.stdout.flush()
            sys.stderr.flush()
            for fd, old in saved.items():
                os.dup2(old, fd)
                os.close(old)
        said = {}
        for fd, file in files.items():
            file.seek(0)
            said[fd] = file.read().decode("utf-8", "replace")
    written = out.exists()
    out.unlink(missing_ok=True)
    left = sorted(p.name for p in folder.iterdir() if not p.name.startswith(("fuzz", "said")))
    return {
        "seed": seed, "done": done, "code": code, "written": written, "left": left,
        "err": said[2], "out_is_json": _is_json(said[1]),
    }  # fmt: skip


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    # A small machine, and an impatient one.
    execute.MAX_SECONDS = 5.0
    example.MAX_INPUT_BYTES = 2**26
    resource.setrlimit(resource.RLIMIT_AS, (mapped() + BYTES,) * 2)
    for seed in range(first, last):
        print(json.dumps({"begin": seed}), flush=True)
        print(json.dumps(attempt(folder, seed)), flush=True)
