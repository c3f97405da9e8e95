"""How the time for groups grows with the network: ``python -m experiments.bench.growth``.

Three families of growing size, thin and on small images, as neither matters to `spa.find_groups`:
ResNets of depth 18 to 302 (basic blocks, spread over four stages), one-block DenseNets of 6 to 64
layers, and transformers of 2 to 96 blocks. The time is that of `spa.find_groups` on a loaded model
that has worked nothing out yet, over the model's size: nodes plus channels.
All of it is one thread's work, so it is that thread's CPU time: what else the machine does counts
little.

Every round finds the groups of two copies, one after the other, right after a garbage collection.
The second time is the one that is held against the goal (``ms``). The first (``first_ms``) has to
bring the code itself back into the processor's caches, which takes about half a millisecond: a
quarter of the smallest ResNet's time, and no growth.

A group's members are listed when somebody asks for them. How long that takes for all groups is told
apart (``members_ms``): it goes with their number (``members``), and a DenseNet has as many as it
has layers squared.

Channels are those that groups hold, each counted once: a ResNet's and a transformer's grow with
their blocks, and so do a DenseNet's. The indices of all axes of all weights (``labels``) are told
beside: in a DenseNet they grow with the square of the layers, as every layer reads all before it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import spa
from experiments.bench.measure import (
    RESULTS,
    Seconds,
    as_loaded,
    draw,
    goal,
    in_turn,
    markdown,
    say,
    write_csv,
)
from spa.bridge import from_torch
from spa.bridge.torchvision_shim import import_torchvision
from spa.graph.model import Model

WANTED = 1.3
ROUNDS = 15
IMAGE = 32
WIDTHS = (16, 32, 64, 128)


def resnet(depth: int) -> Any:
    """A ResNet of basic blocks: a stem, (depth - 2) / 2 blocks in four stages, a classifier."""
    from torch import nn

    block = import_torchvision().models.resnet.BasicBlock
    count = (depth - 2) // 2
    layers: list[Any] = [nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
    before = WIDTHS[0]
    for stage, width in enumerate(WIDTHS):
        for i in range(count // 4 + (stage < count % 4)):
            stride = 2 if stage and i == 0 else 1
            shortcut = None
            if before != width:
                conv = nn.Conv2d(before, width, 1, stride, bias=False)
                shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))
            layers.append(block(before, width, stride, shortcut))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def densenet(layers: int) -> Any:
    """A DenseNet of one block."""
    kind = import_torchvision().models.DenseNet
    return kind(growth_rate=16, block_config=(layers,), num_init_features=32, num_classes=10)


def transformer(blocks: int) -> Any:
    """A vision transformer of 4 heads, 64 wide."""
    kind = import_torchvision().models.VisionTransformer
    return kind(
        image_size=IMAGE, patch_size=16, num_layers=blocks, num_heads=4, hidden_dim=64, mlp_dim=256,
        num_classes=10,
    )  # fmt: skip


# By family, how to build it and in which sizes.
FAMILIES: dict[str, tuple[Callable[[int], Any], tuple[int, ...]]] = {
    "resnet": (resnet, (18, 34, 66, 130, 302)),
    "densenet": (densenet, (6, 12, 24, 48, 64)),
    "transformer": (transformer, (2, 6, 12, 24, 48, 96)),
}


def loaded(module: Any) -> Model:
    """A module as SPA's model."""
    import torch

    return spa.load(from_torch(module.eval(), (torch.randn(2, 3, IMAGE, IMAGE),)))


def timer(name: str, model: Model) -> Callable[[], Seconds]:
    """What finds groups as if the model had just been loaded, and says how long it took."""

    def call() -> Seconds:
        copies = [as_loaded(model) for _ in range(2)]
        started = time.thread_time()
        spa.find_groups(copies[0])
        first = time.thread_time()
        groups = spa.find_groups(copies[1])
        found = time.thread_time()
        for group in groups:
            _ = group.members
        listed = time.thread_time()
        return {
            f"{name} first": first - started,
            f"{name} again": found - first,
            f"{name} members": listed - found,
        }

    return call


def measure(family: str, sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """A family's sizes in turn: one line of the table each."""
    import torch

    torch.manual_seed(0)
    build, _ = FAMILIES[family]
    models = {}
    for size in sizes:
        models[str(size)] = loaded(build(size))
        say(f"{family} {size}: {len(models[str(size)].graph.nodes)} nodes")
    found = in_turn([timer(name, model) for name, model in models.items()], rounds, min)
    rows = []
    for name, model in models.items():
        groups = spa.find_groups(model)
        nodes, channels = len(model.graph.nodes), sum(group.channels for group in groups)
        rows.append(
            {
                "family": family,
                "size": int(name),
                "nodes": nodes,
                "channels": channels,
                "labels": sum(axis.size for axis in groups.coupling.axes),
                "members": sum(len(group.members) for group in groups),
                "ms": 1e3 * found[f"{name} again"],
                "us_each": 1e6 * found[f"{name} again"] / (nodes + channels),
                "first_ms": 1e3 * found[f"{name} first"],
                "members_ms": 1e3 * found[f"{name} members"],
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes growth.csv and its figure, and prints the table."""
    parser = argparse.ArgumentParser(description="Time to groups over the size of the network.")
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--sizes", nargs="*", type=int, help="in place of each family's own")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    rows = []
    for family in args.families:
        rows += measure(family, args.sizes or FAMILIES[family][1], args.rounds)
    write_csv(rows, args.results / "growth.csv")
    lines = {
        family: [(r["nodes"] + r["channels"], r["us_each"]) for r in rows if r["family"] == family]
        for family in args.families
    }
    draw(args.results / "growth", lines, "nodes + channels", "µs per node or channel", log=True)
    columns = {
        "family": "family", "size": "depth, layers or blocks", "nodes": "nodes",
        "channels": "channels", "labels": "labels", "ms": "ms", "us_each": "µs per node or channel",
        "first_ms": "ms at first", "members": "members", "members_ms": "ms to list them",
    }  # fmt: skip
    print(markdown(rows, columns))
    for family, points in lines.items():
        each = [y for _, y in points]
        spread = max(each) / min(each)
        wanted = f"{family}: time per node or channel constant within {WANTED:g}"
        print(f"\n{goal(wanted, f'the largest is {spread:.2f} of the smallest', spread <= WANTED)}")


if __name__ == "__main__":
    main()
