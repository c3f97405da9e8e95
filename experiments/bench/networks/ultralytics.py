"""Ultralytics' YOLOs of six generations, the smallest of each, from their own YAML files."""

from __future__ import annotations

import os

from experiments.bench.networks import COLLECTIONS, NETWORKS, Network
from experiments.bench.networks.waking import wake

DETECTORS = ("yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n")
OTHERS = ("yolov8n", "yolo11n", "yolo26n")
TASKS = ("seg", "pose", "cls")
PIXELS = 64


@NETWORKS.register("ultralytics/")
def ultralytics(name: str) -> Network:
    """Builds a network by the name of its file."""
    from spa.bridge.torchvision_shim import import_torchvision

    os.environ.setdefault("YOLO_VERBOSE", "False")
    import_torchvision()
    import torch
    from ultralytics import YOLO

    module = YOLO(f"{name}.yaml").model.float().eval()
    wake(module)
    return Network(type(module).__name__, module, (torch.rand(2, 3, PIXELS, PIXELS),))


COLLECTIONS["ultralytics"] = lambda: (
    *DETECTORS, *(f"{name}-{task}" for name in OTHERS for task in TASKS)
)  # fmt: skip
