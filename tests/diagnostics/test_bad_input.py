"""Numbers, curves and trees that diagnostics cannot read are refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.diagnostics import hessian, triage
from dlcore.diagnostics.dependence import dependence, steps_to_see_all
from dlcore.diagnostics.gradient_check import check_gradient, check_step, numerical_gradient, verdict
from dlcore.diagnostics.loss_landscape import loss_surface
from dlcore.diagnostics.lr_range import lr_range_test, read_range_test
from dlcore.diagnostics.scaling_law import PowerLaw, fit_power_law

NAN, KEY, W = float("nan"), jax.random.key(0), jnp.ones(3)
LAW = PowerLaw(1.0, 0.5, 0.0, np.eye(3), 0.1, 3, 1.0)
SIZES, CURVE = np.array([1, 2, 4, 8.0]), [2.0, 1.5, 1.0, 0.8, 0.7]


def gradient_at(coordinates, f=jnp.sum):
    with jax.enable_x64():
        return numerical_gradient(f, jnp.ones(3, jnp.float64), np.asarray(coordinates))


def surface(directions, offsets=W):
    return loss_surface(jnp.sum, W, directions, offsets)


CASES = {
    "no function": (lambda: dependence(5, W), "function=5, x=.*: no function of an array"),
    "step of words": (lambda: check_step("a"), "h='a': no number"),
    "no error": (lambda: verdict(None), "error=None: no number; allowed: at least 0, or NaN"),
    "loss of a vector": (lambda: gradient_at([0], lambda w: w), r"f: gives \[3\]; allowed: a scalar"),
    "optimizer": (
        lambda: lr_range_test(jnp.sum, W, np.ones(3), optimizer=optax.sgd(0.1)),
        "optimizer=GradientTransformation.*: no function of a schedule",
    ),
    "falling rates": (lambda: read_range_test(SIZES[::-1], SIZES, 3), "rates: do not rise"),
    "curve of words": (lambda: triage.plateaus(["a"]), "loss: holds what is no number"),
    "no curve": (lambda: triage.plateaus(None), "loss=None: no curve; allowed: numbers"),
    "no directions": (lambda: surface(None), "directions: NoneType of them; allowed: two"),
    "axis": (lambda: dependence(jnp.sum, W, 0.5), "axis=0.5: no whole number"),
    "no step": (lambda: steps_to_see_all(np.zeros((0, 2), bool)), r"dependence_masks=\(0, 2\): wrong shape"),
    "half a mask": (lambda: steps_to_see_all(np.full((1, 2), 0.5)), r"dependence_masks\[0, 0\]=0.5: unknown"),
    "samples": (lambda: check_gradient(jnp.sum, W, samples=1.5), "samples=1.5: no whole number"),
    "seed": (lambda: check_gradient(jnp.sum, W, seed=-1), "seed=-1: too small; allowed: at least 0"),
    "method": (lambda: check_gradient(jnp.sum, W, method="exact"), "method='exact': unknown; allowed: centered"),
    "nothing to check": (lambda: check_gradient(jnp.sum, {}), "params: holds no array; allowed: at least one"),
    "coordinate": (lambda: gradient_at([3]), r"coordinates\[0\]=3: out of range; allowed: 0 to 2"),
    "half a coordinate": (lambda: gradient_at([0.5]), r"coordinates=.*: wrong shape or dtype"),
    "vector": (lambda: hessian.hessian_vector_product(jnp.sum, W, jnp.ones(2)), "vector: of other names or shapes"),
    "eigenvalues": (lambda: hessian.top_eigenvalues(jnp.sum, W, KEY, 1.5), "count=1.5: no whole number"),
    "iterations": (lambda: hessian.top_eigenvalues(jnp.sum, W, KEY, steps=NAN), "steps=nan: no whole number"),
    "tolerance": (lambda: hessian.top_eigenvalues(jnp.sum, W, KEY, tolerance=NAN), "tolerance=nan: out of range"),
    "Krylov space": (lambda: hessian.lanczos_eigenvalues(jnp.sum, W, KEY, 1.5), "steps=1.5: no whole number"),
    "signs": (lambda: hessian.hessian_trace(jnp.sum, W, KEY, 1.5), "samples=1.5: no whole number"),
    "one direction": (lambda: surface((W,)), "directions: 1 of them; allowed: two"),
    "another tree": (lambda: surface((W, jnp.ones(2))), r"directions\[1\]: of other names or shapes than params"),
    "offset": (lambda: surface((W, W), np.array([0, NAN])), r"offsets\[1\]=nan: not finite"),
    "last rate": (lambda: lr_range_test(jnp.sum, W, np.ones(3), high=np.inf), "high=inf: not finite"),
    "batches": (lambda: lr_range_test(jnp.sum, W, (W, jnp.ones(2))), r"batches: leaves of \[3, 2\] steps"),
    "window of steps": (lambda: read_range_test(SIZES, SIZES, 3.5), "window=3.5: no whole number"),
    "divergence": (lambda: read_range_test(SIZES, SIZES, 3, 0.5), "blown=0.5: out of range; allowed: at least 1"),
    "rate": (lambda: read_range_test(SIZES - 2, SIZES, 3), "rates=-1: out of range; allowed: above 0"),
    "exponent": (lambda: fit_power_law(SIZES, 1 / SIZES, NAN), "max_exponent=nan: out of range; allowed: above 0.001"),
    "size": (lambda: LAW([0.0]), "sizes=0: out of range; allowed: above 0"),
    "predicted size": (lambda: LAW.interval(-1.0), "size=-1: out of range; allowed: above 0"),
    "confidence": (lambda: LAW.exponent_interval(95), "confidence=95: out of range; allowed: above 0 and below 1"),
    "flat": (lambda: triage.learning_rate_triage(CURVE, flat=NAN), "flat=nan: out of range; allowed: 0 to 1"),
    "blown": (lambda: triage.learning_rate_triage(CURVE, blown=0.5), "blown=0.5: out of range; allowed: at least 1"),
    "floor": (lambda: triage.learning_rate_triage(CURVE, floor=NAN), "floor=nan: not finite"),
    "rates of fewer points": (lambda: triage.learning_rate_triage(CURVE, rate=[1, 2]), "rate=.*: wrong shape"),
    "smoothing": (lambda: triage.smoothing_floor(2.0, 10), "label_smoothing=2: out of range; allowed: 0 to 1"),
    "classes": (lambda: triage.smoothing_floor(0.1, 0), "num_classes=0: out of range; allowed: at least 1"),
    "gap": (lambda: triage.fit_triage([0.5], [0.5], gap=NAN), "gap=nan: out of range; allowed: 0 to 1"),
    "enough": (lambda: triage.fit_triage([0.5], [0.5], enough=99), "enough=99: out of range; allowed: 0 to 1"),
    "fall": (lambda: triage.plateaus(CURVE, fall=NAN), "fall=nan: out of range; allowed: at least 0"),
    "rise": (lambda: triage.turning_point(CURVE, -1.0), "rise=-1: out of range; allowed: at least 0"),
    "floor of a run": (lambda: triage.triage([], floor=NAN), "floor=nan: not finite"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
