"""Several processes that train one network together (DistributedDataParallel).

Every process runs the same command: started by torchrun, or as the tasks of a SLURM step. The first
does all that a run does; the others only take part in its trainings (`experiments.runs.following`).
A global batch is what one process would see, each process takes its part of it, and gradients are
summed; only batch norms differ, as each looks at its own part.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from spa.training.team import Team

if TYPE_CHECKING:
    from torch import nn

# The others wait while the first one prunes or measures.
PATIENCE = timedelta(days=7)
# A batch norm cannot learn from a single sample.
LEAST = 2


class Processes(Team):
    """This process among those that train together.

    Args:
        rank: of this process, from 0.
        size: how many there are.

    Attributes:
        in_step: whether the others wait for the first one's word. Where that one alone broke off a
            training, they wait for a part of it, and nothing can be said to them any more.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self.leads = rank == 0
        self.in_step = True

    def wrap(self, net: nn.Module) -> nn.Module:
        """A module whose gradients are averaged; it starts with the first process's weights."""
        from torch.nn.parallel import DistributedDataParallel

        device = next(net.parameters()).device
        return DistributedDataParallel(net, [device] if device.type == "cuda" else None)

    def share(self, samples: int) -> tuple[slice, float]:
        """Every so-many-th sample, or all of a batch that is too small to share."""
        if samples < LEAST * self.size:
            return slice(None), 1 / samples
        return slice(self.rank, None, self.size), self.size / samples

    def same(self, value: Any) -> Any:
        """The first process's value."""
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def total(self, values: list[float]) -> list[float]:
        """Sums over all processes."""
        import torch
        import torch.distributed as dist

        sums = torch.tensor(values, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            sums = sums.cuda()
        dist.all_reduce(sums)
        return [float(value) for value in sums]


def processes(where: dict[str, str]) -> Processes:
    """Join the other processes that this one was started with (see `rendezvous`)."""
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    os.environ.update(where)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(where["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return Processes(dist.get_rank(), dist.get_world_size())
