"""What a latency is measured on: an execution provider, threads, and a batch."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime as ort

from spa.errors import SettingError


@dataclass(frozen=True)
class Machine:
    """What runs a model.

    Attributes:
        provider: ONNX Runtime's execution provider.
        threads: its intra-op threads; 0 takes all cores.
        batch: samples at once; None takes the example's.
    """

    provider: str = "CPUExecutionProvider"
    threads: int = 1
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.provider not in ort.get_available_providers():
            raise SettingError(
                f"ONNX Runtime has no {self.provider} here; it has "
                f"{', '.join(ort.get_available_providers())}."
            )
        if self.threads < 0 or (self.batch is not None and self.batch < 1):
            raise SettingError(
                "threads must be 0 or more and the batch 1 or more; "
                f"{self.threads} and {self.batch} were given."
            )

    def key(self) -> str:
        """Names this machine and how it is used: times of one do not hold for another."""
        facts = {**asdict(self), "processor": _processor(), "onnxruntime": ort.__version__}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        batch = "the example's batch" if self.batch is None else f"batch {self.batch}"
        return f"{self.provider}, {threads if self.threads else 'all cores'}, {batch}"


def _processor() -> str:
    """The processor's name; where the system does not tell it, its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
