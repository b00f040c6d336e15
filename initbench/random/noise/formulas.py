"""The random words and the quantile of the normal: the same lines for a compiled number and for a NumPy array.

`plain.py` calls these functions with arrays, `compiled.py` compiles them for single numbers. Both return the same bits
everywhere, because they use only integers and additions, multiplications and divisions of float32, which IEEE 754
rounds in one way. So no term may use a library's logarithm, and none may be fused (a · b + c rounded
once). `np.int32(…)` and its kin keep a compiled number from widening; an array they leave unchanged.
"""

from typing import Any

import numpy as np

# A tile is the words of this many blocks of Philox: first the blocks' first words, then their second ones, and so on.
# So the same operations compute all words of a vector. 128 blocks stay in the first cache.
BLOCKS = 128
TILE = 4 * BLOCKS

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # the multipliers
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # the increments of the keys
WORD, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(n: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """Return the four words of block n of Philox 4×32-10: counter (n's lower and upper word, c2, c3), key (k0, k1).

    All are 32-bit words in uint64. Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2,
    3", section 3.3.
    """
    c0, c1 = n & WORD, n >> HALF
    for _ in range(10):
        left, right = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (right >> HALF) ^ c1 ^ k0, right & WORD, (left >> HALF) ^ c3 ^ k1, left & WORD
        k0, k1 = (k0 + W0) & WORD, (k1 + W1) & WORD
    return c0, c1, c2, c3


ONE, TWO = np.float32(1), np.float32(2)
STEP, HALF_STEP = np.float32(2.0**-31), np.float32(2.0**-32)
MAX_INT32 = np.int32(2**31 - 1)


def centred(word: Any) -> Any:
    """Return a signed word as a number uniform in [−1, 1]: v = (word + 1/2) / 2³¹, rounded."""
    return np.float32(word) * STEP + HALF_STEP


def spread(word: Any) -> Any:
    """Return 1 − v² of the same word, from 2⁻³¹ to 1: q (2 − q) with q = 1 − |v|, exact near v = ±1."""
    tail = np.float32(np.int32(MAX_INT32 - np.int32(word ^ np.int32(word >> np.int32(31))))) * STEP + HALF_STEP
    return tail * (TWO - tail)


# `python -m tools.fit_quantile` regenerates them. log2(1 + f) = f (c₀ + … + c₇ f⁷) to 5e-8 for f from −1/3 to 1/3, and
# z / v = (p₀ + … + p₆ t⁶) / (1 + q₁ t + … + q₅ t⁵) to 1e-8 for t = log2(1 − v²) from −31 to 0.
LOG2 = (1.4426941, -0.72134393, 0.48101974, -0.36092764, 0.28458777, -0.23468018, 0.25202742, -0.2319794)
NUMERATOR = (1.2533141, -0.31014535, 0.043723196, -0.004170592, 0.00026270704, -9.493743e-06, 2.1218764e-08)
DENOMINATOR = (-0.06599447, 0.01664968, -0.00076983974, 5.73568e-05, -5.984202e-07)
C0, C1, C2, C3, C4, C5, C6, C7 = (np.float32(c) for c in LOG2)
P0, P1, P2, P3, P4, P5, P6 = (np.float32(p) for p in NUMERATOR)
Q1, Q2, Q3, Q4, Q5 = (np.float32(q) for q in DENOMINATOR)
TWO_THIRDS = np.int32(0x3F2AAAAB)  # the bits of 2/3
MANTISSA = np.int32(23)


def exponent(bits: Any) -> Any:
    """Return e of a positive float32 y = m 2ᵉ with m from 2/3 to 4/3, from y's bits."""
    return np.int32(np.int32(bits - TWO_THIRDS) >> MANTISSA)


def mantissa(bits: Any, e: Any) -> Any:
    """Return the bits of m."""
    return np.int32(bits - np.int32(e << MANTISSA))


def normal_quantile(v: Any, m: Any, e: Any) -> Any:
    """Return z with 2 Φ(z) − 1 = v, where 1 − v² = m 2ᵉ: with a relative error of at most 5e-7.

    The textbook form takes a logarithm and one of two rational functions (Wichura 1988, AS 241). A single one over all
    of log2(1 − v²) has no branch, so that vectors are computed at once. The sums are grouped in pairs (Estrin), which
    has fewer dependent operations than Horner's scheme.
    """
    f = m - ONE
    f2 = f * f
    t = np.float32(e) + f * (((C1 * f + C0) + (C3 * f + C2) * f2) + ((C5 * f + C4) + (C7 * f + C6) * f2) * (f2 * f2))
    t2 = t * t
    t4 = t2 * t2
    p = ((P1 * t + P0) + (P3 * t + P2) * t2) + ((P5 * t + P4) + P6 * t2) * t4
    q = ((Q1 * t + ONE) + (Q3 * t + Q2) * t2) + (Q5 * t + Q4) * t4
    return v * p / q
