"""The polynomials of initbench/random/noise/formulas.py, found again: `python -m tools.fit_quantile` prints them.

Both are least squares whose weights are raised where the error is largest (Lawson), on Chebyshev points; the rational
one is linear in its coefficients once its denominator is taken from the round before (Sanathanan & Koerner 1963).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfinv, ndtri

Values = NDArray[np.float64]


def chebyshev_points(low: float, high: float, count: int = 6000) -> Values:
    """Points from `low` to `high`, closest at the ends."""
    return low + (high - low) * (1 - np.cos(np.linspace(0, np.pi, count))) / 2


def quantile_ratio(t: Values) -> Values:
    """z / v of a normal z, where v = 2 Φ(z) − 1 and t = log2(1 − v²)."""
    v = np.sqrt(-np.expm1(t * np.log(2)))
    tail = 2.0**t / (1 + v)
    with np.errstate(all="ignore"):
        return np.asarray(np.where(v < 0.5, np.sqrt(2) * erfinv(v), -ndtri(tail / 2)) / v)


def fit_log2() -> tuple[Values, float]:
    """c with f (c₀ + c₁ f + … + c₇ f⁷) ≈ log2(1 + f) for f from −1/3 to 1/3; and the largest error."""
    f = chebyshev_points(-1 / 3, 1 / 3)
    powers = f[:, None] ** np.arange(1, 9)
    target, weights = np.log2(1 + f), np.ones_like(f)
    for _ in range(50):
        c = np.linalg.lstsq(powers * np.sqrt(weights)[:, None], target * np.sqrt(weights), rcond=None)[0]
        error = np.abs(powers @ c - target)
        weights *= error / error.max() + 1e-3
        weights /= weights.max()
    return c, float(error.max())


def fit_quantile() -> tuple[Values, Values, float]:
    """p and q with P(t) / Q(t) ≈ z / v for t from −31.1 to 0, degrees 6 and 5, q₀ = 1; and the relative error."""
    low, high = -31.1, -1e-9
    t = chebyshev_points(low, high)
    target = quantile_ratio(t)
    x = (2 * t - low - high) / (high - low)
    numerator, denominator = (np.polynomial.chebyshev.chebvander(x, degree) for degree in (6, 5))
    below, weights, best = np.ones_like(t), np.ones_like(t), (np.inf, np.zeros(0), np.zeros(0))
    for _ in range(60):
        scale = np.sqrt(weights) / below / target
        columns = np.hstack([numerator, -denominator[:, 1:] * target[:, None]]) * scale[:, None]
        sizes = np.linalg.norm(columns, axis=0)
        c = np.linalg.lstsq(columns / sizes, target * scale, rcond=1e-15)[0] / sizes
        p, q = c[:7], np.concatenate([[1.0], c[7:]])
        below = np.abs(denominator @ q)
        error = np.abs(numerator @ p / (denominator @ q) / target - 1)
        if error.max() < best[0]:
            best = float(error.max()), p, q
        weights *= error / error.max() + 1e-3
        weights /= weights.max()
    p, q = (
        np.polynomial.Chebyshev(c, domain=[low, high]).convert(kind=np.polynomial.Polynomial).coef for c in best[1:]
    )
    return p / q[0], q / q[0], best[0]


def main() -> None:
    """Print the coefficients, rounded to float32, and the errors before that."""
    log2, log2_error = fit_log2()
    p, q, ratio_error = fit_quantile()
    for name, values in (("LOG2", log2), ("NUMERATOR", p), ("DENOMINATOR", q[1:])):
        print(name, "=", ", ".join(str(np.float32(value)) for value in values))
    print(f"largest errors: log2 {log2_error:.1e}, quantile {ratio_error:.1e} (relative)")


if __name__ == "__main__":
    main()
