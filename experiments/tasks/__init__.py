"""What is asked of networks: a file each; see `protocol`."""

from experiments.tasks.interface import Interface
from experiments.tasks.protocol import TASKS, Metric, Predict, Task, loss_of_arrays, task_of

__all__ = ["TASKS", "Interface", "Metric", "Predict", "Task", "loss_of_arrays", "task_of"]
