"""How much memory there is, and how large a batch may be.

What is free is the least of what the system has left, of what a control group leaves (a container's
limit), and of what this process may still map (``ulimit -v``).
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from spa.errors import SettingError
from spa.graph.model import Model

try:  # not on Windows
    import resource
except ImportError:  # pragma: no cover
    resource = None  # type: ignore[assignment]

GIB = 2**30
# Share of what is free that is taken where nothing is said, and the least that is worked with.
SHARE = 0.25
LEAST = 2**27
# Samples in a batch, at most.
MOST = 64
# Samples that share one set of statistics, at most; more would only cost memory.
TOGETHER = 256
# Of all activations, what a forward and a backward pass hold.
TWICE = 2


def free_bytes() -> int:
    """Memory that this process can still get."""
    found = [_system(), _control_group(), _mappable()]
    return min(value for value in found if value is not None)


def _system() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _control_group() -> int | None:
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        try:
            most, now = Path(limit).read_text().strip(), Path(used).read_text().strip()
        except OSError:
            continue
        if most.isdigit() and now.isdigit():
            return max(0, int(most) - int(now))
    return None


def _mappable() -> int | None:
    if resource is None:
        return None
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return most
    return max(0, most - pages * os.sysconf("SC_PAGE_SIZE"))


def budget_of(asked: float | None) -> int:
    """Bytes that may be taken.

    Args:
        asked: GiB; None is a quarter of what is free.

    Raises:
        SettingError: so little that nothing can be done, or no number.
    """
    if asked is None:
        return max(LEAST, int(free_bytes() * SHARE))
    if not (math.isfinite(asked) and asked * GIB >= LEAST):
        raise SettingError(
            f"memory must be at least {LEAST / GIB:g} GiB; {asked:g} was given. Leave it out to "
            "take a quarter of what is free."
        )
    return int(asked * GIB)


def activation_bytes(model: Model) -> tuple[int, int]:
    """Bytes per sample: of the largest node's inputs and outputs, and of all activations."""
    constants = model.constants
    sizes = {
        name: 4 * math.prod(shape) for name, shape in model.shapes.items() if name not in constants
    }
    at_node = [
        sum(sizes.get(name, 0) for name in {*node.inputs, *node.outputs})
        for node in model.graph.nodes
    ]
    each = max(1, model.batch_size)
    return max(at_node, default=0) // each + 1, sum(sizes.values()) // each + 1


def batch_size(model: Model, budget: int) -> int:
    """Samples whose run through any one node takes a quarter of a budget, at most."""
    largest, _ = activation_bytes(model)
    # A convolution's working space can be twice what it reads.
    return max(1, min(MOST, budget // (4 * 3 * largest)))


def synthesis_size(model: Model, budget: int) -> int:
    """Samples that are moved together, where gradients go back to the inputs.

    Raises:
        SettingError: one does not fit.
    """
    _, every = activation_bytes(model)
    # Every activation is kept for the way back, and so are what norms and gates keep besides.
    each = TWICE * every
    if each > budget:
        raise SettingError(
            f"Making an input from batch norm statistics takes about {each / GIB:.1f} GiB, and "
            f"{budget / GIB:.1f} GiB of memory may be taken; ask for more (memory=, --memory), or "
            "give calibration inputs."
        )
    return max(1, min(TOGETHER, budget // each))
