"""What is asked of networks: a file each; see `protocol`."""

from experiments.tasks.protocol import TASKS, Metric, Predict, Task

__all__ = ["TASKS", "Metric", "Predict", "Task"]
