"""Occam's razor and its limit: polynomials of rising degree on few points, and what happens beyond interpolation.

python -m experiments.studies.occam

Twenty noisy samples of a smooth curve, denser at the ends, are fitted by least squares on Legendre polynomials. Up to
degree 19 the training error can only fall; the test error falls, then rises where the polynomial follows the noise: the
simplest model that explains the data is the best. Beyond 20 coefficients many polynomials pass through all points, and
the one of least norm is taken: the test error has its peak where coefficients are as many as points, and falls again
(double descent). The claim holds where in the median over the draws the best degree below 20 is between 3 and 12, the
peak is within two of degree 19 and at least 10 times the best, and degree 200 is below a tenth of the peak.

References: Bishop 2006, section 1.1; Belkin, Hsu, Ma & Mandal 2019, arXiv:1812.11118; Hastie et al. 2019,
arXiv:1903.08560.
"""

from typing import Annotated

import numpy as np
from numpy.polynomial import legendre

from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

POINTS, NOISE = 20, 0.2


def curve(x: np.ndarray) -> np.ndarray:
    """The curve to be found."""
    return np.sin(np.pi * x)


def errors(degrees: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit one draw of points by every degree, of least norm where many fit: (training errors, test errors), [D] each.

    Errors are mean squares, against the noisy points and against the curve.
    """
    rng = np.random.default_rng(seed)
    x = np.cos(np.pi * rng.random(POINTS))
    y = curve(x) + NOISE * rng.normal(size=POINTS)
    grid = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    # Of all polynomials through the points the one whose high degrees are small is the one of least norm.
    scale = 1 / (np.arange(degrees[-1] + 1) + 1)
    inner, outer = (legendre.legvander(points, degrees[-1]) * scale for points in (x, grid))
    train, test = [], []
    for degree in degrees:
        weights = np.linalg.lstsq(inner[:, : degree + 1], y, rcond=None)[0]
        train.append(np.square(inner[:, : degree + 1] @ weights - y).mean())
        test.append(np.square(outer[:, : degree + 1] @ weights - curve(grid)).mean())
    return np.array(train), np.array(test)


def report(degrees: np.ndarray, train: np.ndarray, test: np.ndarray) -> StudyResult:
    """Judge errors [draws, degrees]."""
    fit, risk = np.median(train, 0), np.median(test, 0)
    below = degrees < POINTS
    best = int(degrees[below][risk[below].argmin()])
    peak = int(degrees[risk.argmax()])
    low, high, last = float(risk[below].min()), float(risk.max()), float(risk[-1])
    holds = 3 <= best <= 12 and abs(peak - (POINTS - 1)) <= 2 and high >= 10 * low and last <= high / 10
    verdict = (
        f"The best degree below {POINTS} is {best} (test error {low:.3g}); the peak is at degree {peak} ({high:.3g}), "
        f"and the polynomial of degree {degrees[-1]} of least norm comes down to {last:.3g}."
    )
    figure, axes = new_figure((6, 3.4))
    axes.loglog(degrees + 1, risk, color=VERMILION, label="test")
    axes.loglog(degrees + 1, np.maximum(fit, 1e-6), color=BLUE, label="training")
    axes.axvline(POINTS, color=GRAY, ls=":", lw=1)
    axes.set(xlabel="coefficients (dotted: as many as points)", ylabel="mean squared error", ylim=(1e-6, None))
    axes.legend(frameon=False)
    numbers = {"best degree": best, "test error, best": low, "peak degree": peak, "test error, peak": high}
    numbers |= {f"test error, degree {degrees[-1]}": last}
    headline = Headline("test error of the best degree", low, "noisy sine", baseline=(high, "at the peak", "lower"))
    return StudyResult(numbers, verdict, {"error by the number of coefficients": figure}, holds, headline=headline)


def study(*, draws: PositiveInt = 101, most: Annotated[int, Range(20)] = 200) -> StudyResult:
    """Fit polynomials of rising degree.

    Args:
      draws: number of draws of points and noise; medians over them are reported.
      most: largest degree.
    """
    degrees = np.unique(np.concatenate([np.arange(40), np.geomspace(40, most, 15).astype(int)]))
    degrees = degrees[degrees <= most]
    train, test = zip(*(errors(degrees, seed) for seed in range(draws)), strict=True)
    return report(degrees, np.stack(train), np.stack(test))


experiment = Study(__file__, __doc__, study, smoke={"draws": 3, "most": 40})

if __name__ == "__main__":
    main(experiment)
