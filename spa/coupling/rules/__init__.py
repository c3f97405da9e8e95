"""One file per operator family; importing this package fills the registry.

Still to come, each its own file: quantized, embedding, scatter, control flow.
"""

from spa.coupling.rules import (
    constants,
    convolution,
    depth,
    einsum,
    elementwise,
    joining,
    linear,
    normalization,
    pooling,
    recurrent,
    reduction,
    resampling,
    reshaping,
    selection,
)

FAMILIES = (
    constants,
    convolution,
    depth,
    einsum,
    elementwise,
    joining,
    linear,
    normalization,
    pooling,
    recurrent,
    reduction,
    resampling,
    reshaping,
    selection,
)
