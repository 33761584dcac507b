"""The schedule, one step of sampling and one update by hand, samples of a known network, a small run."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import mask_git
from dlcore.generative.mask_git import CodeTransformer, mask_codes, num_masked, sample
from dlcore.generative.vq_vae_prior import VQVAEPriorState
from dlcore.learner import example_keys
from tests.generative.test_vq_vae_prior import ROWS, Same
from tests.wiring import assert_wiring

K = 3


class Table(nn.Module):
    """Logits of a position by the code on its left, the mask token and the left edge having rows of their own."""

    num_codes: int = K

    @nn.compact
    def __call__(self, codes, train=False):
        left = jnp.pad(codes, ((0, 0), (0, 0), (1, 0)), constant_values=self.num_codes + 1)[:, :, :-1]
        return self.param("rows", nn.initializers.zeros, (self.num_codes + 2, self.num_codes))[left]


def small(rows, **settings):
    learner = mask_git.learner(model=Same(), prior=Table(), optimizer=optax.sgd(0.5), num_codes=K, **settings)
    params = {"rows": np.float32(rows)}
    frozen = {"autoencoder": {"w": np.float32(1)}, "codebook": np.float32([[-1], [0], [1]])}
    return learner, VQVAEPriorState(np.int32(2), jax.random.key(0), params, optax.sgd(0.5).init(params), frozen)


@pytest.mark.covers("GE-38")
def test_the_cosine_schedule_by_hand():
    """16 codes, 8 steps: 16 cos(pi t / 16)."""
    counts = np.floor(num_masked(np.arange(1, 9) / 8, 16))
    np.testing.assert_array_equal(counts, [15, 14, 13, 11, 8, 6, 3, 0])
    assert float(num_masked(2 / 3, 10)) == pytest.approx(5)  # cos 60 degrees = 1/2
    with pytest.raises(ValueError, match="progress"):
        num_masked(1.5, 10)


@pytest.mark.covers("GE-38")
def test_masks_have_the_asked_number_at_all_positions():
    codes = np.arange(6).reshape(2, 3) % 2
    keys = jax.vmap(jax.random.key)(np.arange(200))
    mask = jax.jit(jax.vmap(mask_codes, (0, None, 0, None)), static_argnums=3)
    counts = np.arange(200) % 7
    masked, is_masked = map(np.asarray, mask(keys, codes, counts, 2))
    np.testing.assert_array_equal(is_masked.sum((1, 2)), counts)
    np.testing.assert_array_equal(masked, np.where(is_masked, 2, codes))
    # 3 of 6 on average: each position in about half of the draws.
    assert (np.abs(is_masked.mean(0) - 0.5) < 0.15).all()


@pytest.mark.covers("GE-38")
def test_one_update_by_hand_of_a_table():
    """Cross-entropy of the masked codes with labels smoothed by 0.3; the third image does not count."""
    rows = np.random.default_rng(0).normal(size=(K + 2, K))
    learner, state = small(rows, label_smoothing=0.3)
    batch = {**ROWS, "mask": np.float32([1, 1, 0])}
    after, metrics = jax.device_get(jax.jit(learner.update)(state, batch))
    # Which codes are masked, by the keys that the learner uses: of the image, then 0 for r and 1 for positions.
    keys = example_keys(jax.random.fold_in(state.rng, 2), batch)
    codes, slope, losses = np.array([[0, 1], [2, 1]]), np.zeros((K + 2, K)), []
    for image, key in zip(codes, keys[:2], strict=True):
        r = float(jax.random.uniform(jax.random.fold_in(key, 0)))
        count = int(np.ceil(2 * np.cos(np.pi / 2 * r)))  # 1 or 2 of 2
        hidden = np.asarray(jax.random.permutation(jax.random.fold_in(key, 1), 2)) < count
        shown = np.where(hidden, K, image)
        for i in np.flatnonzero(hidden):
            left = K + 1 if i == 0 else shown[0]
            p = np.exp(rows[left]) / np.exp(rows[left]).sum()
            label = 0.7 * np.eye(K)[image[i]] + 0.1
            losses.append(-(label * np.log(p)).sum() / count)
            slope[left] += (p - label) / count / 2
    np.testing.assert_allclose(after.params["rows"], rows - 0.5 * slope, rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(sum(losses) / 2, rel=1e-5)
    chex.assert_trees_all_equal(after.frozen, state.frozen)
    assert int(after.step) == 3


class Fixed(nn.Module):
    """Confident in the given logits wherever a code is; the same in each pass."""

    num_codes: int = 4

    @nn.compact
    def __call__(self, codes, train=False):
        logits = self.param("logits", nn.initializers.zeros, (1, 5, 4))
        return jnp.broadcast_to(logits, (len(codes), *logits.shape))


@pytest.mark.covers("GE-38")
def test_the_surest_codes_are_decided_first():
    """Five codes in three steps, greedy and without noise: 5 cos 30 = 4.3, 5 cos 60 = 2.5: 4, 2 and 0 stay masked."""
    strength = np.array([1, 5, 2, 4, 3], np.float32)
    logits = np.zeros((1, 5, 4), np.float32)
    logits[0, np.arange(5), [3, 2, 1, 0, 3]] = strength
    passes = []

    class Recorder(Fixed):
        @nn.compact
        def __call__(self, codes, train=False):
            jax.debug.callback(lambda codes: passes.append(np.asarray(codes)[0, 0].tolist()), codes, ordered=True)
            return super().__call__(codes)

    keys = jax.vmap(jax.random.key)(np.arange(1))
    settings = {"num_steps": 3, "temperature": 0.0, "choice_temperature": 0.0}

    @jax.jit
    def run(params, keys, temperature):
        traced = sample(Fixed(), params, keys, (1, 5), **{**settings, "temperature": temperature})
        return sample(Recorder(), params, keys, (1, 5), **settings), traced

    codes, traced = run({"logits": logits}, keys, jnp.float32(0))
    jax.effects_barrier()
    # Code 1 is the surest, then 3 and 4.
    assert passes == [[4, 4, 4, 4, 4], [4, 2, 4, 4, 4], [4, 2, 4, 0, 3]]
    np.testing.assert_array_equal(codes[0, 0], [3, 2, 1, 0, 3])
    np.testing.assert_array_equal(traced, codes)


@pytest.mark.slow
def test_the_noise_of_the_confidence_is_halved_after_half_of_the_passes():
    """Code 0 in the first pass and code 1 in the second: a sample says which codes the first pass decided."""
    strength = np.float32([1, 1.4, 1.8, 2.2, 2.6])

    class TwoPasses(nn.Module):
        num_codes: int = 2

        @nn.compact
        def __call__(self, codes, train=False):
            is_first = (codes == 2).all((1, 2), keepdims=True)[..., None]
            logits = jnp.where(is_first, jnp.float32([1, 0]), jnp.float32([0, 1]))
            return logits * strength[:, None] + 0 * self.param("w", nn.initializers.zeros, ())

    keys = jax.vmap(jax.random.key)(np.arange(20))
    settings = {"num_steps": 2, "temperature": 0.0, "choice_temperature": 4.0}
    codes = sample(TwoPasses(), {"w": np.float32(0)}, keys, (1, 5), **settings)[:, 0]  # [20, 5]
    log_p = -np.log1p(np.exp(-strength))
    for key, row in zip(keys, codes, strict=True):
        noise = jax.random.gumbel(jax.random.split(jax.random.fold_in(key, 1))[1], (1, 5))[0]
        confidence = log_p + 4.0 * (1 - 1 / 2) * noise
        # 5 cos 45 = 3.5: the 3 least confident are masked again.
        expected = np.zeros(5, int)
        expected[np.argsort(confidence)[:3]] = 1
        np.testing.assert_array_equal(row, expected)


@pytest.mark.slow
@pytest.mark.covers("GE-38")
def test_samples_have_the_networks_frequencies_and_depend_on_their_key_alone():
    """Softmax of log 1, 2, 3, 4: tenths in one step. In seven, more than there are codes, probable codes stay first."""
    params = {"logits": np.broadcast_to(np.log(np.float32([1, 2, 3, 4])), (1, 5, 4))}
    keys, shares = jax.vmap(jax.random.key)(np.arange(2000)), {}
    for steps in (1, 7):
        draw = jax.jit(lambda keys, steps=steps: sample(Fixed(), params, keys, (1, 5), num_steps=steps))
        codes = np.asarray(draw(keys))
        shares[steps] = np.bincount(codes.ravel(), minlength=4) / codes.size
        assert codes.max() < 4  # no mask token is left
    np.testing.assert_allclose(shares[1], [0.1, 0.2, 0.3, 0.4], atol=0.02)
    assert shares[7][3] > shares[1][3]
    np.testing.assert_array_equal(draw(keys[::-1]), codes[::-1])


@pytest.mark.covers("GE-38")
def test_bits_of_a_random_order_are_the_entropy_of_independent_codes():
    """Frequencies 1/6, 1/2, 1/3 at every position: each order has the same likelihood."""
    learner, state = small(np.broadcast_to(np.log([1 / 6, 1 / 2, 1 / 3]), (K + 2, K)))
    state = state.replace(rng=jax.random.key(1))
    numbers = [-np.log2([1 / 6, 1 / 2, 1 / 3])[np.array(image)] for image in ((0, 1), (2, 1), (1, 2))]

    @jax.jit
    def run(state):
        # One or both codes of an image are masked, by its key.
        keys = [jax.vmap(jax.random.fold_in, (0, None))(example_keys(state.rng, ROWS), k) for k in (0, 1)]
        counts = jax.vmap(lambda key: jax.random.randint(key, (), 1, 3))(keys[0])
        _, hidden = jax.vmap(mask_codes, (0, None, 0, None))(keys[1], np.zeros((1, 2), np.int32), counts, K)
        given = learner.predict(state, ROWS), learner.init(jax.random.key(0), ROWS).params
        return learner.evaluate(state, ROWS), hidden[:, 0], *given

    measured, hidden, out, started = jax.device_get(run(state))
    assert set(hidden.sum(1)) == {1, 2}
    means = [n[h].mean() for n, h in zip(numbers, hidden, strict=True)]
    assert measured["prior_bits"].compute() == pytest.approx(np.mean(means), rel=1e-5)
    # Samples are decoded codes, of vectors -1, 0 and 1 in [-1, 1].
    assert set(out["sample"].ravel()) <= {0, 0.5, 1}
    chex.assert_shape(out["sample"], (3, 1, 2, 1))
    np.testing.assert_array_equal(started["rows"], np.zeros((K + 2, K)))


@pytest.mark.slow
@pytest.mark.covers("GE-38")
def test_the_transformer_sees_both_sides_and_starts_uniform():
    model = CodeTransformer(K, width=8, depth=1, num_heads=2)
    codes = np.int32([[[0, K, 1], [2, K, 0]]])
    variables = jax.jit(model.init)(jax.random.key(0), codes)
    assert not np.asarray(model.apply(variables, codes)).any()
    head = jax.random.normal(jax.random.key(1), (8, K))
    variables["params"]["logits"]["kernel"] = head
    apply = jax.jit(model.apply)
    before = apply(variables, codes)
    chex.assert_shape(before, (1, 2, 3, K))
    for position in ((0, 0, 0), (0, 1, 2)):
        changed = codes.copy()
        changed[position] = K
        assert np.abs(apply(variables, changed) - before)[0, 0, 1].max() > 1e-4


@pytest.mark.slow
def test_the_wiring_of_code_transformer_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        CodeTransformer(5, width=8, depth=1, num_heads=2), np.arange(12).reshape(2, 2, 3) % 6, [10.8111, -2.02481]
    )
