"""Settings of a training that are of another kind or out of range are refused before it starts."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.classification import supervised
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.run import EarlyStopping, Placement, ReduceOnPlateau, Saving, evaluate, fit, make_mesh, predict
from dlcore.run.seeds import over_seeds

NAN = float("nan")


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(2)(x.reshape(len(x), -1))


LEARNER = supervised.learner(model=Linear(), optimizer=optax.sgd(0.1))
IMAGES = Source({"image": np.zeros((2, 2, 2, 1), np.float32), "label": np.zeros(2, int)})
LARGE = Source({"image": np.zeros((2, 3, 2, 1), np.float32), "label": np.zeros(2, int)})
STATE = supervised.ModelState(
    jnp.int32(0), None, {"Dense_0": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}}, (), {}
)


def trained(**options):
    return fit(LEARNER, Pipeline(IMAGES, 2), steps=1, **{"progress": False, **options})


CASES = {
    "steps between evaluations": (lambda: trained(eval_every=0), "eval_every=0: too small; allowed: at least 1"),
    "empty folder": (lambda: trained(folder=""), "folder='': no path; allowed: a path, or None"),
    "start": (lambda: trained(start=5), "start=5: no function; allowed: a function, or None"),
    "learning rate": (lambda: trained(learning_rate=0.1), "learning_rate=0.1: no function"),
    "placement": (lambda: trained(placement="gpu"), r"placement='gpu': no Placement; allowed: Placement\(...\)"),
    "saving": (lambda: trained(saving=5), r"saving=5: no Saving; allowed: Saving\(...\)"),
    "tracking": (lambda: trained(tracking="mlflow"), "tracking='mlflow': no Tracking"),
    "progress": (lambda: trained(progress="no"), "progress='no': no bool; allowed: True, False"),
    "changed data": (lambda: trained(changed_data="no"), "changed_data='no': no bool"),
    "report": (lambda: trained(report="no"), "report='no': no bool"),
    "seconds": (lambda: Saving(seconds=NAN), "saving.seconds=nan: not finite"),
    "saved steps": (lambda: Saving(steps=1.5), "saving.steps=1.5: no whole number"),
    "monitor": (lambda: Saving(monitor=5), "saving.monitor=5: no name; allowed: the name of a metric, or None"),
    "patience": (lambda: EarlyStopping(patience=1.5), "patience=1.5: no whole number"),
    "least change": (lambda: EarlyStopping(min_delta=NAN), "min_delta=nan: out of range"),
    "patience of a plateau": (lambda: ReduceOnPlateau(patience=NAN), "patience=nan: no whole number"),
    "seeds": (lambda: over_seeds(LEARNER, 1.5), "seeds=1.5: no whole number"),
    "learner of seeds": (lambda: over_seeds(Linear(), 2), "learner=Linear: no learner"),
    "description of a mesh": (lambda: make_mesh(5), "mesh=5: no description; allowed: such as"),
    "devices of a mesh": (lambda: make_mesh(None, []), r"devices=\[\]: no devices; allowed: those of jax.devices"),
    "mesh": (lambda: Placement(mesh=5), "mesh=5: no mesh; allowed: what dlcore.run.make_mesh gives"),
    "sharding": (lambda: Placement(sharding="all"), "sharding='all': unknown; allowed: replicate"),
    "state to evaluate": (lambda: evaluate(LEARNER, {}, IMAGES), "state=dict: no state of this learner"),
    "state to predict": (lambda: predict(LEARNER, None, IMAGES), "state=NoneType: no state of this learner"),
    "images to evaluate": (lambda: evaluate(LEARNER, STATE, LARGE), r"source: evaluate fails on its examples \(image"),
    "images to predict": (lambda: predict(LEARNER, STATE, LARGE), r"source: predict fails on its examples \(image"),
    "devices to predict": (lambda: predict(LEARNER, STATE, IMAGES, placement=5), "placement=5: no Placement"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
