"""The idx format of the MNIST family, plain or gzipped.

Four bytes of magic (0, 0, type, rank; type 8 is uint8), then ``rank`` big-endian uint32 sizes,
then the values. A file that says one size and holds another is refused.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from spa.errors import InputError

# Far above any data set, far below what a broken header can ask for.
_LARGEST = 1 << 31


def read(path: Path, rank: int) -> np.ndarray:
    """Read a uint8 idx file of the given rank.

    Raises:
        InputError: it cannot be read, or is not such a file.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    head = 4 + 4 * rank
    if len(content) < head or content[:3] != b"\0\0\x08" or content[3] != rank:
        raise InputError(f"{path} is not an idx file of uint8 values with {rank} dimensions")
    sizes = struct.unpack(f">{rank}I", content[4:head])
    count = math.prod(sizes)
    if count > _LARGEST or len(content) - head != count:
        raise InputError(
            f"{path} is broken: its header says {' x '.join(map(str, sizes))} = {count} values, "
            f"but {len(content) - head} follow"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(sizes)
