"""One file per operator family; importing this package fills the registry.

Still to come, each its own file: quantized, embedding, scatter, control flow.
"""

from spa.coupling.rules import (
    attention,
    constants,
    contrib,
    convolution,
    depth,
    einsum,
    elementwise,
    gathering,
    joining,
    linear,
    masking,
    normalization,
    ordering,
    pooling,
    recurrent,
    reduction,
    resampling,
    reshaping,
    rotary,
    sampling,
    scattering,
    selection,
)

FAMILIES = (
    attention,
    constants,
    contrib,
    convolution,
    depth,
    einsum,
    elementwise,
    gathering,
    joining,
    linear,
    masking,
    normalization,
    ordering,
    pooling,
    recurrent,
    reduction,
    resampling,
    reshaping,
    rotary,
    sampling,
    scattering,
    selection,
)
