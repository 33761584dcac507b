"""Samples, priors, purchases and adapters that cannot be computed with are refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.transfer import active, adapters, shift, stages
from dlcore.transfer.continual import fisher_diagonal
from dlcore.transfer.domain_adaptation import coral_distance, mmd_distance
from dlcore.transfer.frozen import is_named
from dlcore.transfer.gradient_reversal import domain_losses, reversal_strength
from dlcore.transfer.lora import LoRA
from dlcore.transfer.methods import create_adapter
from dlcore.transfer.multi_task import rotate_quarter_turns

NAN, KEY, POINTS = float("nan"), jax.random.key(0), np.arange(8.0).reshape(4, 2)
LABELED, SURE, FEATURES = jnp.array([True, False, False, False]), np.full((4, 2), 0.5), jnp.ones((4, 2))
IMAGES = np.zeros((2, 4, 4, 1))
FIELDS = {"rank": 1, "alpha": 1.0, "targets": (), "bottleneck": 1, "prompts": 1}


def bought(**options):
    return active.buy_in_rounds(None, "random", KEY, LABELED, **{"count": 1, "rounds": 1, **options})


def fisher(**options):
    return fisher_diagonal(lambda p, x: x, {}, jnp.ones((2, 3)), **options)


def probed(**arguments):
    given = {"bank": {"a": POINTS}, "labels": np.arange(4), "queries": {"a": POINTS}, "truth": np.arange(4)}
    return stages.probe_stages(**(given | arguments))


CASES = {
    "labels to buy": (lambda: active.core_set(FEATURES, LABELED, 1.5), "count=1.5: no whole number"),
    "labels as numbers": (lambda: active.core_set(FEATURES, np.array([1, 0, 0, 0]), 1), "labeled=int32.*: no labels"),
    "one class": (lambda: active.score("margin", np.ones((2, 1))), r"probabilities=\[2, 1\]: one class"),
    "probabilities of fewer": (
        lambda: active.buy("entropy", KEY, LABELED, 1, SURE[:2], FEATURES),
        r"probabilities=.*\[2, 2\]: wrong shape",
    ),
    "no curve": (lambda: active.area_under_curve(1.0), r"accuracies=\[\]: no area under a point"),
    "priors": (lambda: shift.em_priors(SURE, [5, 5]), r"source_priors=.*: sums to 10; allowed"),
    "one pattern": (lambda: is_named("a", "b*"), r"patterns='b\*': one string; allowed: a tuple of patterns"),
    "one target": (lambda: adapters.find_targets({}, "a*"), r"targets='a\*': one string"),
    "turned images": (lambda: rotate_quarter_turns(np.ones((2, 4, 5, 3)), np.arange(2)), "images=.*: wrong shape"),
    "half a turn": (
        lambda: rotate_quarter_turns(np.ones((2, 4, 4, 3)), np.ones(2) / 2),
        "index=.*: wrong shape or dtype",
    ),
    "rounds": (lambda: bought(rounds=0), "rounds=0: too small; allowed: at least 1"),
    "labels of a round": (lambda: bought(count=-1), "count=-1: too small; allowed: at least 0"),
    "weights": (lambda: shift.effective_sample_size(POINTS), "weights=.*: wrong shape"),
    "classes": (lambda: shift.black_box_priors([0], [0], [0], 1.5), "num_classes=1.5: no whole number"),
    "predictions of two axes": (lambda: shift.black_box_priors([0], [0], [[0]], 1), "target=.*: wrong shape"),
    "tolerance": (lambda: shift.em_priors(SURE, [0.5, 0.5], NAN), "tolerance=nan: out of range; allowed: at least 0"),
    "steps": (lambda: shift.em_priors(SURE, [0.5, 0.5], max_steps=0), "max_steps=0: out of range"),
    "no example": (lambda: shift.em_priors(SURE[:0], [0.5, 0.5]), r"probabilities=\[0\]: none; allowed: at least one"),
    "batch": (lambda: stages.stage_features(nn.Dense(1), {}, IMAGES, batch_size=0), "batch_size=0: too small"),
    "images": (lambda: stages.stage_features(nn.Dense(1), {}, IMAGES[0]), "images=.*: wrong shape"),
    "no image": (lambda: stages.stage_features(nn.Dense(1), {}, IMAGES[:0]), r"images=\[0\]: none"),
    "stages": (lambda: probed(queries={"b": POINTS}), "queries: stages b; allowed: those of the bank, a"),
    "truth": (lambda: probed(truth=np.arange(3)), r"truth=.*\[3\]: wrong shape"),
    "points of a kernel": (
        lambda: mmd_distance(POINTS, POINTS[:, :1]),
        r"target=.*\[4, 1\]: wrong shape or dtype; allowed: \[M, 2\]",
    ),
    "points of covariances": (lambda: coral_distance(POINTS, POINTS[0]), "target=.*: wrong shape"),
    "one domain": (lambda: domain_losses([FEATURES[:, 0]]), "logits: of 1 domains; allowed: two"),
    "unequal domains": (lambda: domain_losses([jnp.ones(2), jnp.ones(1)]), r"second=.*\[1\]: wrong shape"),
    "sharpness": (lambda: reversal_strength(0.5, np.inf), "sharpness=inf: not finite"),
    "adapter": (lambda: create_adapter("lorax", **FIELDS), "name='lorax': unknown; allowed: head, lora"),
    "rank": (lambda: create_adapter("lora", **FIELDS | {"rank": 0}), "rank=0: out of range; allowed: at least 1"),
    "prompts": (lambda: create_adapter("vpt", **FIELDS | {"prompts": -1}), "prompts=-1: out of range"),
    "rank of LoRA": (lambda: LoRA(0).init(KEY, None, {"params": {}}), "rank=0: out of range; allowed: at least 1"),
    "units": (lambda: adapters.Bottleneck(0).init(KEY, None, {}), "features=0: out of range; allowed: at least 1"),
    "tokens": (lambda: adapters.Prompts(0).init(KEY, None, {}), "tokens=0: out of range; allowed: at least 1"),
    "chunk": (lambda: fisher(key=KEY, chunk=0), "chunk=0: too small; allowed: at least 1"),
    "labels of fewer images": (lambda: fisher(labels=jnp.zeros(1, int)), r"labels=int32\[1\]: wrong shape"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
