"""onnxsim's structured pruning, by the l2 norm, its own default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.methods import Job, NoSettings, Outcome, method
from experiments.methods.baselines.reach import REACHED, reach
from spa.errors import MissingExtra

if TYPE_CHECKING:
    import onnx


@method(source="onnxsim 0.8.1, apply_structured_pruning", targets=REACHED)
def onnxsim(job: Job, how: NoSettings) -> Outcome:
    """Prune the file."""
    try:
        import onnxsim as library
    except ModuleNotFoundError:
        raise MissingExtra("onnxsim", "bench", "method=onnxsim") from None

    def pruned(share: float) -> onnx.ModelProto:
        made: onnx.ModelProto = library.apply_structured_pruning(str(job.dense), sparsity=share)
        return made

    return Outcome(reach(job, pruned))
