"""One file per operator family; importing this package fills the registry.

Still to come, each its own file: attention, recurrent, quantized, embedding, scatter, control flow.
"""

from spa.coupling.rules import (
    constants,
    convolution,
    elementwise,
    joining,
    linear,
    normalization,
    pooling,
    reduction,
    resampling,
    reshaping,
    selection,
)

FAMILIES = (
    constants,
    convolution,
    elementwise,
    joining,
    linear,
    normalization,
    pooling,
    reduction,
    resampling,
    reshaping,
    selection,
)
