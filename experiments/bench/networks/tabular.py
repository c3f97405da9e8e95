"""Networks of tables of numbers: rtdl's MLP, ResNet and FT-Transformer, and TabNet."""

from __future__ import annotations

from typing import Any

from experiments.bench.networks import COLLECTIONS, NETWORKS, Network
from experiments.bench.networks.waking import wake

NAMES = ("MLP", "ResNet", "FTTransformer", "TabNet")
COLUMNS, CLASSES = 12, 3


@NETWORKS.register("tabular/")
def tabular(name: str) -> Network:
    """Builds a network by its class."""
    import torch

    rows: tuple[Any, ...] = (torch.randn(4, COLUMNS),)
    if name == "TabNet":
        from pytorch_tabnet.tab_network import TabNet

        module = TabNet(COLUMNS, CLASSES, group_attention_matrix=torch.eye(COLUMNS))
    else:
        import rtdl_revisiting_models as rtdl

        if name == "MLP":
            module = rtdl.MLP(d_in=COLUMNS, d_out=CLASSES, n_blocks=3, d_block=64, dropout=0.1)
        elif name == "ResNet":
            module = rtdl.ResNet(
                d_in=COLUMNS, d_out=CLASSES, n_blocks=2, d_block=48, d_hidden=None,
                d_hidden_multiplier=2.0, dropout1=0.1, dropout2=0.0,
            )  # fmt: skip
        else:
            module = rtdl.FTTransformer(
                n_cont_features=COLUMNS, cat_cardinalities=[], d_out=CLASSES, n_blocks=2,
                d_block=48, attention_n_heads=4, attention_dropout=0.0, ffn_d_hidden=None,
                ffn_d_hidden_multiplier=2.0, ffn_dropout=0.0, residual_dropout=0.0,
            )  # fmt: skip
            rows = (*rows, None)
    module = module.eval()
    wake(module)
    return Network("tabular", module, rows)


COLLECTIONS["tabular"] = lambda: NAMES
