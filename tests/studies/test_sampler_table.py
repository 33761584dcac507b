"""Calls of the network, rows, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.diffusion import SAMPLERS as DIFFUSION_SAMPLERS
from experiments.studies import sampler_table as study


class Counter:
    """A network that counts the calls that a program makes when it runs."""

    def __init__(self):
        self.calls = 0

    def count(self):
        self.calls += 1

    def apply(self, variables, x, t, *cond, **options):
        jax.debug.callback(self.count)
        return jnp.zeros_like(x)


@pytest.mark.covers("GE-32")
@pytest.mark.parametrize(("name", "expected"), [("ddim", 4), ("unipc", 4), ("edm_heun", 3), ("flow_heun", 3)])
def test_a_sampler_calls_the_network_as_often_as_its_column_says(name, expected):
    """2 steps of Heun call it twice and once."""
    counter = Counter()
    learner = study.SAMPLERS[name].build(4)(model=counter, optimizer=None, shape=(2, 2, 1))
    state = study.ddpm.DiffusionState(jnp.zeros((), jnp.int32), jax.random.key(0), {}, None, {})
    jax.block_until_ready(jax.jit(learner.predict)(state, {"index": jnp.arange(1)}))
    jax.effects_barrier()
    assert counter.calls == expected


def test_every_sampler_of_diffusion_is_a_row():
    names = {name for name, sampler in study.SAMPLERS.items() if sampler.technique == "ddpm"}
    assert names == set(DIFFUSION_SAMPLERS)
    assert [study.steps_of("heun", n) for n in (1, 2, 4, 64)] == [1, 1, 2, 32]
    assert study.steps_of("euler", 4) == 4


def test_a_row_has_a_distance_for_each_seed_with_its_own_noise():
    counter = Counter()
    state = study.ddpm.DiffusionState(jnp.zeros((), jnp.int32), jax.random.key(0), {}, None, {})
    shared = {"model": counter, "optimizer": None, "shape": (2, 2, 1)}

    # The velocity is 0, so a sample is its noise, whatever the number of steps.
    row = study.measure(study.SAMPLERS["flow_euler"], state, shared, lambda x: float(x.sum()), (1, 2), 2, 3)
    assert list(row) == ["1", "2"]
    assert row["1"] == pytest.approx(row["2"])
    assert row["1"][0] != row["1"][1]


def table(**changes):
    distances = dict.fromkeys(study.SAMPLERS, 2.0) | {"ddim": 3.0, "flow_euler": 2.5} | changes
    return {name: {"4": [value, value + 0.5], "16": [1.0, 1.0]} for name, value in distances.items()}


@pytest.mark.covers("GE-32")
def test_the_verdict_turns():
    result = study.report(table(tcd=1.0))
    assert result.holds
    np.testing.assert_allclose(result.headline.values, [1, 1])  # 3 - 2
    # The mean of 1 and 1.5.
    assert "Smallest Fréchet distance: tcd 1.25 with 4 calls" in result.verdict
    assert "Gain with 4 calls: dpmpp +1.00, unipc +1.00, reflow_euler +0.50; for each seed." in result.verdict
    assert result.numbers["ddim"]["4 calls"] == "3.25 ± 0.25"
    for name in ("dpmpp", "unipc", "reflow_euler"):
        turned = study.report(table(**{name: 3.1}))
        assert not turned.holds
        assert "NOT for each seed" in turned.verdict


def test_a_part_of_the_table_has_no_verdict():
    rows = {name: row for name, row in table().items() if name != "unipc"}
    result = study.report(rows)
    assert (result.holds, result.headline) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samplers": ("pndm",)}, "samplers=pndm: unknown; allowed: ddpm, ddim"),
        ({"calls": (4, 0)}, "calls=0: out of range; allowed: 1 to 1000"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        study.study(**arguments)


@pytest.mark.weekly
def test_a_reflow_starts_from_its_flow_and_changes():
    states = study.train_networks({"reflow"}, 4, 4, 4, 1e-2)
    flow, reflow = (jax.tree.leaves(states[name].params) for name in ("flow", "reflow"))
    assert any((a != b).any() for a, b in zip(flow, reflow, strict=True))
    largest = max(float(jnp.abs(a - b).max()) for a, b in zip(flow, reflow, strict=True))
    assert largest < 0.05  # one step of Adam with a rate of .01 at most
