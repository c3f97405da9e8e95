"""Networks that take inputs of many sizes, written as their authors wrote them, but small.

What they have in common is arithmetic on sizes: pads to a multiple, to another map's size, counts
of windows and chunks, halves of a batch. `NETWORKS` lists them; a file holds those of one kind.
"""

from tests.free_sizes import batches, detectors, pictures, sequences, speech, windows
from tests.free_sizes.table import NETWORKS, Network

__all__ = [
    "NETWORKS",
    "Network",
    "batches",
    "detectors",
    "pictures",
    "sequences",
    "speech",
    "windows",
]
