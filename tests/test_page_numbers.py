"""Every page's first two steps of training and its evaluation give the numbers of tests/goldens/page_numbers.json.

They hold which term of a loss gets which weight, axis and target on the way from a page's flags to its metrics. The
slow tier has a page of most topics, as its digests of programs (tests/test_page_wiring.py) see what these numbers see;
the weekly tier has all: they also tell whether another version of JAX, or a program rewritten, still computes the
same. The numbers are regressions. After a change that is meant:
DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/test_page_numbers.py -m "slow or not slow" -n 0

Processors round differently, and some numbers depend on that: an accuracy of nearly equal scores, a second loss behind
the normalization of nearly constant features. An update therefore runs a page once more from weights that are moved by
a millionth, and leaves out the numbers that change.
"""

import json
import math
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from dlcore.run import evaluate, fit
from tests.test_learner_contract import EVERY_RUN, PAGES, one_device, smoke_job

GOLDEN = Path(__file__).parent / "goldens" / "page_numbers.json"
KNOWN = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
UPDATE = bool(os.environ.get("DLCORE_UPDATE_SNAPSHOTS"))
STEPS = 2
TOLERANCE = {"rel": 5e-3, "abs": 2e-4}


def moved(learner, size: float):
    """The learner, which starts from weights that are moved by a share of their size."""

    def init(rng, batch):
        state = learner.init(rng, batch)
        leaves, tree = jax.tree.flatten(state.params)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        leaves = [x * (1 + size * jax.random.normal(key, x.shape)) for x, key in zip(leaves, keys, strict=True)]
        return state.replace(params=jax.tree.unflatten(tree, leaves))

    return learner._replace(init=init)


def page_numbers(name: str, size: float = 0.0) -> dict[str, float]:
    """Metrics of the page under --smoke, by SGD where it has the choice: Adam turns rounding into whole steps."""
    resolved = smoke_job(name)
    assert resolved is not None
    data = resolved.experiment.run(resolved.flags).load()
    plain = {"optimizer": "sgd"} if "optimizer" in resolved.flags else {}
    learner = resolved.training(data.facts, resolved.flags.replace(**plain)).build()
    learner = moved(learner, size) if size else learner
    result = fit(learner, resolved.pipelines(data), steps=STEPS, log_every=1, placement=one_device(), progress=False)
    rows = {f"step {row['step']}": row for row in result.history}
    if data.valid:
        rows["valid"] = evaluate(learner, result.state, data.valid, batch_size=8, placement=one_device())
    return {
        f"{row} {metric}": float(f"{value:.6g}")
        for row, metrics in rows.items()
        for metric, value in metrics.items()
        if isinstance(value, float | np.floating) and math.isfinite(value) and "second" not in metric
    }


def test_the_pages_of_every_topic_have_numbers():
    assert UPDATE or {*EVERY_RUN} <= KNOWN.keys() <= {*PAGES}


@pytest.mark.slow
@pytest.mark.weekly(unless=EVERY_RUN)
@pytest.mark.parametrize("name", [page for page in PAGES if smoke_job(page)] if UPDATE else sorted(KNOWN))
def test_the_numbers_of_a_page_are_those_of_the_snapshot(name):
    found = page_numbers(name)
    if UPDATE:
        again = page_numbers(name, 1e-6)
        KNOWN[name] = {k: v for k, v in found.items() if again.get(k) == pytest.approx(v, rel=1e-3, abs=4e-5)}
        GOLDEN.write_text(json.dumps(KNOWN, indent=1, sort_keys=True) + "\n")
    for metric, value in KNOWN[name].items():
        assert found[metric] == pytest.approx(value, **TOLERANCE), metric
