"""Approximate functions by steps of sigmoids: the error falls with the width, except at a jump.

python -m experiments.classic_ml.universal_approximation

A sine and a single step on [0, 1] by staircases of 2 to 128 stairs, two hidden neurons a stair. The largest error on
the sine must fall with the width. On the step it cannot; outside a window around the jump it must.

Reference: Cybenko 1989, "Approximation by superpositions of a sigmoidal function".

Seen: from 4 to 256 neurons the error on the sine fell from 1.00 to 0.0245, half at every doubling at the end; on the
jump 0.50 throughout, and below 1e-6 more than 0.05 away from it from 64 neurons on.
"""

import numpy as np

from dlcore.classic_ml.universal_approximation import network, staircase, step_pair, sup_error
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLACK, BLUE, SKY, VERMILION, new_figure


def sine(x):
    return np.sin(2 * np.pi * x)


def step(x):
    return (x > 0.5).astype(float)


def away_from_the_jump(parameters, window: float) -> float:
    """The largest error on the step, more than `window` from 0.5."""
    x = np.linspace(0, 1, 4001)
    x = x[np.abs(x - 0.5) > window]
    return float(np.abs(step(x) - network(parameters, x)).max())


def study(*, max_stairs: PositiveInt = 128, sharpness: float = 10.0, window: float = 0.05) -> StudyResult:
    """Measure the largest error by width.

    Args:
      max_stairs: most stairs of the widest network, a power of 2.
      sharpness: steepness of the sigmoids times the width of a stair.
      window: half-width of the excluded interval around the jump.
    """
    counts = [2**i for i in range(1, max_stairs.bit_length())]
    networks = {
        name: [staircase(f, 0, 1, n, sharpness) for n in counts] for name, f in (("sine", sine), ("step", step))
    }
    errors = {
        "sine": [sup_error(sine, p, 0, 1) for p in networks["sine"]],
        "step": [sup_error(step, p, 0, 1) for p in networks["step"]],
        "step, away from the jump": [away_from_the_jump(p, window) for p in networks["step"]],
    }
    figure, (bump, curve, fall) = new_figure((10, 3.2), 1, 3, grid="both")
    x = np.linspace(0, 1, 1000)
    for steepness, color in ((20, SKY), (100, BLUE), (1000, BLACK)):
        bump.plot(x, network(step_pair(0.3, 0.6, 1, steepness), x), color=color, label=f"steepness {steepness}")
    bump.set(title="a pair of steps", xlabel="x", ylim=(-0.05, 1.45))
    curve.plot(x, sine(x), color="0.6", lw=3, label="sine")
    for i, color in ((2, VERMILION), (min(4, len(counts) - 1), BLUE)):
        curve.plot(x, network(networks["sine"][i], x), color=color, lw=1, label=f"{2 * counts[i]} neurons")
    curve.set(title="staircases", xlabel="x", ylim=(-1.1, 1.9))
    for (name, values), style in zip(errors.items(), ("o-", "s--", "^:"), strict=True):
        fall.loglog(2 * np.array(counts), np.maximum(values, 1e-12), style, ms=4, label=name)
    fall.set(title="largest error", xlabel="hidden neurons", ylim=(1e-10, 3))
    for ax in (bump, curve, fall):
        ax.legend(frameon=False, fontsize=8)
    falls = all(  # below 1e-9 there is only rounding
        (np.diff(errors[name]) < 0)[np.array(errors[name][1:]) > 1e-9].all()
        for name in ("sine", "step, away from the jump")
    )
    first, last = errors["sine"][0], errors["sine"][-1]
    verdict = (
        f"From {2 * counts[0]} to {2 * counts[-1]} neurons the largest error on the sine went from {first:.2f} to "
        f"{last:.4f}, {'falling' if falls else 'NOT falling'} at every doubling. On a jump it stayed at "
        f"{errors['step'][-1]:.2f}, and {window} away from it fell to {errors['step, away from the jump'][-1]:.1g}."
    )
    numbers = {"hidden neurons": [2 * n for n in counts], **errors}
    headline = Headline("largest error on the sine", last, "sine")
    return StudyResult(numbers, verdict, {"approximation": figure}, falls, headline)


experiment = Study(__file__, __doc__, study, smoke={"max_stairs": 16})

if __name__ == "__main__":
    main(experiment)
