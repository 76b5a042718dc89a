"""The soft clamp of a coupling's log-scale."""

import triton
import triton.language as tl

HALF_PI = tl.constexpr(1.5707963267948966)

ClampFactors = tuple[float, float]
"""Factors outside and inside the arc tangent of the soft clamp."""


@triton.jit
def arctangent(x):
    """``atan(x)``, relative error ≤ 2e-7.

    ``atan(x) = x P(x²)`` for ``|x| ≤ 1`` with ``P`` of degree 8, minimax in relative error (1.5e-8,
    Lawson's iteration on [0, 1]); ``sign(x) π/2 − atan(1/x)`` beyond.
    """
    beyond = tl.abs(x) > 1.0
    u = tl.where(beyond, 1.0 / tl.where(beyond, x, 1.0), x)
    z = u * u
    p = z * 0.0028498894535005093 - 0.016068629920482635
    p = p * z + 0.04269152507185936
    p = p * z - 0.0750429555773735
    p = p * z + 0.10640934854745865
    p = p * z - 0.14203645288944244
    p = p * z + 0.1999261975288391
    p = p * z - 0.3333307206630707
    r = u * (p * z + 1.0)
    return tl.where(beyond, tl.where(x > 0.0, HALF_PI, -HALF_PI) - r, r)


@triton.jit
def soft_clamp(s0, clamp):
    """``v = outside · atan(s0 · inside)`` with the two factors of ``clamp``."""
    return clamp[0] * arctangent(s0 * clamp[1])
