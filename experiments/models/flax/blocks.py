"""What the networks share. A module is named as the PyTorch network names it."""

from __future__ import annotations

from functools import partial

from flax import nnx

SMALL = 64  # below this many pixels the stem keeps the resolution

HE = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
BatchNorm = partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5)


def conv(
    in_chs: int, out_chs: int, kernel: int, stride: int = 1, groups: int = 1, *, rngs: nnx.Rngs
) -> nnx.Conv:
    """Convolution without bias. Both sides get the same padding; "SAME" is uneven at stride 2."""
    return nnx.Conv(
        in_chs,
        out_chs,
        (kernel, kernel),
        stride,
        padding=kernel // 2,
        feature_group_count=groups,
        use_bias=False,
        kernel_init=HE,
        rngs=rngs,
    )


def conv_bn(
    in_chs: int, out_chs: int, kernel: int, stride: int = 1, *, rngs: nnx.Rngs
) -> nnx.Sequential:
    """Convolution without bias, then batch norm."""
    return nnx.Sequential(
        conv(in_chs, out_chs, kernel, stride, rngs=rngs), BatchNorm(out_chs, rngs=rngs)
    )
