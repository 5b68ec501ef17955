"""Elementwise functions whose precision matters, for Triton kernels in float32 and float64."""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN2_HIGH = tl.constexpr(0.693359375)  # 9 bits: k * LN2_HIGH is exact for |k| < 2^15
SQRT_HALF = tl.constexpr(0.70710678118654752440)
LN2_LOW = tl.constexpr(-2.1219444005469058e-4)


@triton.jit
def exponential(x):
    """exp(x) to 3 ulp (the GPU's own float32 exp loses |x| ulp); at most the largest finite power, for x > 88."""
    if x.dtype == tl.float64:
        return tl.exp(tl.minimum(x, 709.0))
    else:
        x = tl.minimum(tl.maximum(x, -150.0), 88.0)
        k = tl.floor(x * LOG2_E + 0.5)
        rest = x - k * LN2_HIGH - k * LN2_LOW
        return tl.exp2(rest * LOG2_E) * tl.exp2(k)


@triton.jit
def divide(x, y):
    """x / y, correctly rounded (the GPU's own float32 division is not)."""
    if x.dtype == tl.float64:
        return x / y
    else:
        return tl.div_rn(x, y)


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)), NaN for NaN."""
    return 1 / (1 + tl.exp(-x))


@triton.jit
def activate(x, slope, ACTIVATION: tl.constexpr):
    """What follows a convolution: csrc/base/activation.h in Triton."""
    if ACTIVATION == "relu":
        return tl.where(x < 0, 0.0, x)
    elif ACTIVATION == "prelu":
        return tl.where(x > 0, x, slope * x)
    elif ACTIVATION == "gelu":
        return 0.5 * x * (1 + tl.erf(x * SQRT_HALF))
    else:
        return x
