"""DepGraph as its authors' package does it, on the torch module: Torch-Pruning 1.6.1.

What the authors' script for CIFAR (reproduce/main.py) does is done here: all channels are to go in
``iterative_steps`` steps, ranked over all layers (``global_pruning``), and that ends as soon as
the target is reached. Within the loop the package counts FLOPs and parameters; once it says that
they are few enough, the exported file is counted as all others are, and while that says otherwise
the loop goes on. A target of channels (``ratio``) goes in all steps.

    importance    as the package's                             trained before
    l1, l2        MagnitudeImportance(p)                       no
    taylor        TaylorImportance, on the same samples at every step
    group_norm    GroupMagnitudeImportance(p=2)                no, with ``sparse_epochs: 0``
                  the same, normalizer="max"                   by GroupNormPruner.regularize

As its documentation says, the final classifier is ignored; so are heads told to it: of a Linear
``qkv`` beside ``num_heads`` by ``num_heads=`` and ``prune_num_heads=``, of torch's own attention
by widths that the heads divide, as in its script for ImageNet.

Known faults of the package that results carry: Taylor scores never see batch norms, its sparse
learning is a weighted L2 that ignores alpha, and a width that heads divide is cut without regard
for which head a channel is of.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from experiments.methods import Job, Need, Outcome, TorchNetwork, method
from experiments.methods.baselines.reach import REACHED, measured
from experiments.methods.baselines.torch_pruning_sparse import pruner_of, sparse
from spa.errors import InfeasibleTarget, MissingExtra, SettingError

if TYPE_CHECKING:
    import onnx

# Samples whose gradients Taylor scores are of, and how many go through a network at a time.
SAMPLES, BATCH = 256, 64


@dataclass(frozen=True)
class TorchPruning:
    """How Torch-Pruning prunes; the defaults are its authors' script's, less its epochs.

    Attributes:
        importance: what ranks channels.
        global_pruning: whether layers compete; without, every layer loses the same share.
        iterative_steps: in how many steps all channels would go.
        prune_num_heads: whether attention loses heads, and not dimensions of them.
        samples: that Taylor scores see; None: 256.
        sparse_epochs: of the sparse learning before ``group_norm``; None: 10, the authors have 100.
        reg: its strength; None: 5e-4.
        lr: its learning rate; None: 0.01.
        batch: its samples in a step; None: 128.
    """

    importance: Literal["l1", "l2", "taylor", "group_norm"] = "l1"
    global_pruning: bool = True
    iterative_steps: Annotated[int, Field(ge=1)] = 400
    prune_num_heads: bool = False
    samples: Annotated[int, Field(ge=1)] | None = None
    sparse_epochs: Annotated[int, Field(ge=0)] | None = None
    reg: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None

    @property
    def learns(self) -> int:
        """Epochs of sparse learning."""
        if self.importance != "group_norm":
            return 0
        return 10 if self.sparse_epochs is None else self.sparse_epochs

    def check(self) -> None:
        """Check that nothing is set that the importance does not use.

        Raises:
            SettingError: something is.
        """
        for key, of in (
            *((key, "group_norm") for key in ("sparse_epochs", "reg", "lr", "batch")),
            ("samples", "taylor"),
        ):
            if getattr(self, key) is not None and self.importance != of:
                raise SettingError(
                    f"method=torch_pruning: {key} is of importance={of}, but importance="
                    f"{self.importance} is asked for; leave it out"
                )


@method(
    needs=Need.MODULE,
    settings=TorchPruning,
    source="Fang et al. 2023, arXiv 2301.12900; torch-pruning 1.6.1",
    targets=REACHED,
)
def torch_pruning(job: Job, how: TorchPruning) -> Outcome:
    """Prune the torch module, and export it."""
    how.check()
    if importlib.util.find_spec("torch_pruning") is None:
        raise MissingExtra("torch-pruning", "baselines", "method=torch_pruning")
    network = job.module()
    net = copy.deepcopy(network.net)
    trained: onnx.ModelProto | None = None
    if how.learns:
        trained = sparse(
            job, net, network, epochs=how.learns, reg=how.reg or 5e-4, lr=how.lr or 0.01,
            batch=how.batch or 128,
        )  # fmt: skip
    # As its users do: a batch of one. Where that fails, the example that SPA gets may do.
    one = tuple(array[:1] for array in network.inputs) if network.batched else network.inputs
    try:
        found = _pruned(copy.deepcopy(net), network, one, job, how)
    except (InfeasibleTarget, SettingError):
        raise
    except Exception:  # whatever it is
        found = _pruned(net, network, network.inputs, job, how)
    model, details = found
    return Outcome(model, reconstructed=trained, details=details)


def _pruned(
    net: Any, network: TorchNetwork, inputs: tuple[Any, ...], job: Job, how: TorchPruning
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Step after step until the target is reached; the file, and what is to be said of it."""
    import torch
    import torch_pruning as library

    from spa.bridge import from_torch

    ((quantity, asked),) = job.target.as_dict().items()
    share = asked if quantity == "ratio" else 1.0
    pruner = pruner_of(
        net, inputs, library.pruner.BasePruner, _importance(how),
        pruning_ratio=share, iterative_steps=how.iterative_steps,
        global_pruning=how.global_pruning, prune_num_heads=how.prune_num_heads,
        head_pruning_ratio=share if how.prune_num_heads else 0.0,
    )  # fmt: skip
    gradients = _gradients(job, how)

    def step() -> None:
        if gradients is not None:
            gradients(net)
        pruner.step()
        _mend(net, pruner)

    def exported() -> onnx.ModelProto:
        with torch.no_grad():
            net(*network.inputs)
        return from_torch(net, network.inputs, network.batched)

    counted = 0 if quantity == "rf" else 1  # of FLOPs and parameters
    given = inputs if len(inputs) > 1 else inputs[0]
    dense = library.utils.count_ops_and_params(net, given)[counted]
    ours = 0.0 if quantity == "ratio" else measured(job.dense, job, quantity)
    reached, own = 1.0, 1.0
    for done in range(1, how.iterative_steps + 1):
        step()
        if quantity == "ratio":
            continue
        own = dense / library.utils.count_ops_and_params(net, given)[counted]
        if own < asked:
            continue
        made = exported()
        reached = ours / measured(made, job, quantity)
        if reached >= asked:
            return made, {"steps": done, f"{quantity}_by_torch_pruning": float(own)}
    if quantity == "ratio":
        return exported(), {"steps": how.iterative_steps}
    raise InfeasibleTarget(
        f"{quantity} {asked:g} is out of reach: after {how.iterative_steps} steps, in which all "
        f"channels were to go, Torch-Pruning has come to {quantity} {max(own, reached):.2f}; ask "
        "for less",
        quantity=quantity,
        asked=asked,
        reachable=float(max(own, reached)),
    )


def _importance(how: TorchPruning) -> Any:
    import torch_pruning as library

    kinds = library.importance
    if how.importance == "taylor":
        return kinds.GroupTaylorImportance()
    if how.importance == "group_norm" and how.learns:
        return kinds.GroupMagnitudeImportance(p=2, normalizer="max")
    return kinds.GroupMagnitudeImportance(p=1 if how.importance == "l1" else 2)


def _gradients(job: Job, how: TorchPruning) -> Callable[[Any], None] | None:
    """What gives a network gradients of its loss, where scores are of them."""
    if how.importance != "taylor":
        return None
    import torch

    inputs, targets = job.labelled(how.samples or SAMPLES)
    arrays = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    loss = job.loss()

    def set_gradients(net: Any) -> None:
        net.zero_grad()
        for start in range(0, len(targets), BATCH):
            part = slice(start, start + BATCH)
            outputs = net(*(torch.from_numpy(array[part].copy()) for array in arrays))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            if loss is None:
                wanted = torch.from_numpy(targets[part].copy())
                found = torch.nn.functional.cross_entropy(outputs[0], wanted, reduction="sum")
            else:
                found = loss(outputs, targets[part])
            (found / len(targets)).backward()  # type: ignore[no-untyped-call]

    return set_gradients


def _mend(net: Any, pruner: Any) -> None:
    """What the package leaves to its users: numbers that modules keep beside their weights."""
    for part in net.modules():
        qkv = getattr(part, "qkv", None)
        if qkv is not None and qkv in pruner.num_heads:
            part.num_heads = pruner.num_heads[qkv]
            part.head_dim = qkv.out_features // (3 * part.num_heads)
    if hasattr(net, "hidden_dim") and hasattr(net, "conv_proj"):  # torchvision's ViT checks it
        net.hidden_dim = net.conv_proj.out_channels
