"""Data sets: one file each, all behind one array interface.

`load` gives a `Dataset` whose two splits hand out NumPy batches, so that every framework can be
fed from it.
"""

from experiments.data.base import DATASETS, ArraySplit, Dataset, Split, find_root, load
from experiments.data.calibration import calibration_inputs

__all__ = [
    "DATASETS",
    "ArraySplit",
    "Dataset",
    "Split",
    "calibration_inputs",
    "find_root",
    "load",
]
