"""Damaged models: a result or one line, never a traceback, a hang, noise, or a file on failure."""

import json
import subprocess
import sys

import pytest

from spa.cli.main import DEFECT
from tests.cli.fuzz_worker import SECONDS

COUNT = 240
BATCH = 60


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, COUNT, BATCH))
def test_damaged_models(tmp_path, first):
    command = [sys.executable, "-m", "tests.cli.fuzz_worker", str(tmp_path)]
    done = subprocess.run(
        [*command, str(first), str(first + BATCH)],
        capture_output=True, text=True, timeout=BATCH * SECONDS, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    results = [line for line in lines if "code" in line]
    assert len(results) == BATCH, (
        f"seed {lines[-1] if lines else first} ended the process with {done.returncode}: "
        f"{done.stderr[-2000:]}"
    )
    bad = [problem for result in results if (problem := _problem(result))]
    assert bad == []
    assert any(result["code"] == 0 for result in results)
    assert any(result["code"] == 1 for result in results)


def _problem(result) -> str:
    said = [line for line in result["err"].splitlines() if not line.endswith(" ...")]
    ok = (
        result["code"] in (0, 1, 2)
        and result["written"] == (result["code"] == 0)
        and result["left"] == []
        and result["out_is_json"]
        and len(said) == (result["code"] != 0)
        and not any(DEFECT in line or "Traceback" in line for line in said)
    )
    return "" if ok else json.dumps(result)[:900]
