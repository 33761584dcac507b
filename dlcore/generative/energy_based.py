"""Energy-based models (EBM): a network gives an energy E(x), low for examples, and exp(-E) is a density up to a factor.

Du & Mordatch 2019, arXiv:1903.08689. The joint energy model (JEM) is Grathwohl et al. 2019, arXiv:1912.03263.

    p(x) = exp(-E(x)) / Z,   E(x) = -log sum_c exp f(x)_c,   f the logits of the network (one logit: E = -f)
    Langevin   x' = x - h / 2 dE / dx + noise_scale sqrt(h) z,   z ~ N(0, I),   h = step_size
    L = E(x+) - E(x-) + energy_penalty (E(x+)^2 + E(x-)^2) + class_weight (-log softmax(f(x+))_y)

x+ are examples and x- samples of Langevin's steps, through which no gradient flows. With exact samples the slope of the
first two terms is that of -log p(x+) (contrastive divergence), so that Z need not be known; the third keeps energies
near 0. Chains go on from a replay buffer of earlier samples, or start from uniform noise with the probability
`restart`. With `class_weight` above 0 the logits are those of classes too: softmax(f) = p(y | x) (JEM).

noise_scale = 1 samples from exp(-E) for small h. The papers take large steps and little noise, and normalize the
weights by their spectral norm; here the network has plain layers. New samples replace the oldest of the buffer, as in
Du & Mordatch; JEM writes them where their chains came from.
"""

import functools
from collections.abc import Callable
from numbers import Real
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.generative.diffusion import noise_of
from dlcore.generative.pixels import check_shape, denormalize, normalize
from dlcore.generative.samplers import Noise
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import all_gather
from dlcore.optim import apply_gradients

__all__ = ["EnergyState", "Langevin", "contrastive_energy_loss", "energy_of", "langevin_sample", "learner"]


@struct.dataclass
class EnergyState(State):
    """The network and the samples that chains go on from.

    Args:
      buffer: [K, *shape], earlier samples.
      pointer: [] int32, the oldest.
    """

    buffer: jax.Array
    pointer: jax.Array


class Langevin(NamedTuple):
    """How samples are drawn.

    Args:
      langevin_steps: steps of each chain in an update.
      sampling_steps: steps from noise to a sample, after training.
      step_size: h above.
      noise_scale: deviation of a step's noise over sqrt(h); 1 samples from exp(-E), less gives likelier samples.
      start_range: noise is uniform from minus this number to this number.
    """

    langevin_steps: Annotated[int, Range(1)] = 20
    sampling_steps: Annotated[int, Range(1)] = 200
    step_size: Annotated[float, Range(1e-9)] = 0.01
    noise_scale: Annotated[float, Range(0)] = 1.0
    start_range: Annotated[float, Range(1e-6)] = 1.0


def energy_of(logits: jax.Array) -> jax.Array:
    """Compute -log sum exp of logits, the energy of an example.

    Args:
      logits: [..., C].

    Returns:
      [...], at least float32.
    """
    return -jax.nn.logsumexp(to_acc_dtype(logits), axis=-1)


def contrastive_energy_loss(
    positive: jax.Array, negative: jax.Array, energy_penalty: float | jax.Array = 0.0
) -> jax.Array:
    """Compare the energies of examples with those of samples.

    Args:
      positive: [B], E(x+).
      negative: [B], E(x-).
      energy_penalty: weight of the squared energies.

    Returns:
      [B].
    """
    check_shapes(energy_penalty=(energy_penalty, ">= 0"))
    check_shapes(positive=(positive, "B"), negative=(negative, "B"))
    positive, negative = to_acc_dtype(positive), to_acc_dtype(negative)
    return positive - negative + energy_penalty * (jnp.square(positive) + jnp.square(negative))


def langevin_sample(
    energy: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    noise: Noise,
    *,
    num_steps: int,
    step_size: float | jax.Array,
    noise_scale: float | jax.Array = 1.0,
) -> jax.Array:
    """Go down the energy with noise, by Langevin's steps without a test of acceptance.

    Args:
      energy: x [B, ...] -> E [B], of each example alone.
      x: [B, ...], start.
      noise: draws standard normal noise, another for each step.
      num_steps: number of steps, at least 1.
      step_size: h, above 0.
      noise_scale: deviation of a step's noise over sqrt(h).

    Returns:
      The sample [B, ...], at least float32.
    """
    check_shapes(num_steps=(num_steps, "int >= 1"), step_size=(step_size, "> 0"), noise_scale=(noise_scale, ">= 0"))
    slope = jax.grad(lambda x: energy(x).sum())

    def step(x, k):
        moved, scale = x - step_size / 2 * slope(x), noise_scale * jnp.sqrt(step_size)
        sampled = noise(k)
        check_shapes(x=(x, "..."), noise=(sampled, "..."))
        return moved + scale * sampled, None

    return jax.lax.scan(step, to_acc_dtype(x), jnp.arange(num_steps))[0]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    encode: Callable[[dict], jax.Array] = lambda batch: normalize(batch["image"]),
    decode: Callable[[jax.Array], jax.Array] = denormalize,
    shape: tuple[int, ...],
    langevin: Langevin = Langevin(),
    buffer_size: Annotated[int, Range(1)] = 10_000,
    restart: Annotated[float, Range(0, 1)] = 0.05,
    energy_penalty: Annotated[float, Range(0)] = 0.1,
    class_weight: Annotated[float, Range(0)] = 0.0,
) -> Learner:
    """Train an energy of `{"image": [B, *shape], "index": [B]}`, and `label: [B]` with `class_weight` above 0.

    Args:
      model: `__call__(x [B, *shape]) -> logits f [B, C]`; without classes C may be 1.
      encode: a batch to x+, in the range of the samples.
      decode: samples back to the data's range.
      shape: shape of one example.
      buffer_size: K, the number of earlier samples that chains go on from; at least a batch.
      restart: probability of a chain to start from noise instead.
      energy_penalty: weight of the squared energies.
      class_weight: weight of the cross-entropy of the classes (JEM); 0 uses no labels.

    Returns:
      The learner. `evaluate` gives the mean energies of examples and of samples from noise, and the accuracy of the
      classes where they are learned; `predict` needs `index`, and gives `{"sample": [B, *shape]}`.
    """
    check_shape(shape)
    has_classes = not (isinstance(class_weight, Real) and class_weight == 0)

    def logits_of(params, x):
        return model.apply({"params": params}, x)

    def draw(state, batch):
        keys = example_keys(jax.random.fold_in(state.rng, 1), batch)
        start = _uniform(_fold(keys, 1), shape, langevin.start_range)
        return _sample(functools.partial(logits_of, state.params), keys, start, langevin, langevin.sampling_steps)

    def init(rng: jax.Array, batch: dict) -> EnergyState:
        _check_buffer(buffer_size, len(batch["index"]))
        params = model.init(rng, encode(batch))["params"]
        buffer = _uniform(jax.random.split(jax.random.fold_in(rng, 0), buffer_size), shape, langevin.start_range)
        step = jnp.zeros((), jnp.int32)
        return EnergyState(step, jax.random.fold_in(rng, 1), params, optimizer.init(params), buffer, step)

    def update(state: EnergyState, batch: dict) -> tuple[EnergyState, Metrics]:
        keys, mask = example_keys(jax.random.fold_in(state.rng, state.step), batch), mask_of(batch)
        # Chains go on from the replay buffer or start from noise; no gradient flows through them.
        start = _starts(keys, state.buffer, restart, langevin.start_range)  # [B, *shape]
        negative_x = _sample(functools.partial(logits_of, state.params), keys, start, langevin, langevin.langevin_steps)

        def objective(params):
            logits = logits_of(params, encode(batch))  # [B, C]
            # Energies of examples and of samples.
            positive, negative = energy_of(logits), energy_of(logits_of(params, negative_x))  # [B], [B]
            losses = contrastive_energy_loss(positive, negative, energy_penalty)
            metrics = {"energy": Sum.of(positive, mask), "sample_energy": Sum.of(negative, mask)}
            # JEM: cross-entropy of the classes.
            if has_classes:
                class_losses = softmax_cross_entropy_loss(logits, batch["label"])  # [B]
                losses, metrics = losses + class_weight * class_losses, metrics | {"class": Sum.of(class_losses, mask)}
            return masked_mean(losses, mask), metrics | {"loss": Sum.of(losses, mask)}

        gradients, metrics = jax.grad(objective, has_aux=True)(state.params)
        # The samples of all replicas replace the oldest of the buffer.
        buffer, pointer = _replace_oldest(state.buffer, state.pointer, all_gather(negative_x))
        return apply_gradients(state, optimizer, gradients, buffer=buffer, pointer=pointer), metrics

    def evaluate(state: EnergyState, batch: dict) -> Metrics:
        mask, logits = mask_of(batch), logits_of(state.params, encode(batch))
        sample_energy = energy_of(logits_of(state.params, draw(state, batch)))
        metrics = {"energy": Sum.of(energy_of(logits), mask), "sample_energy": Sum.of(sample_energy, mask)}
        if has_classes:
            metrics["accuracy"] = Sum.of((logits.argmax(-1) == batch["label"]).astype(jnp.float32), mask)
        return metrics

    def predict(state: EnergyState, batch: dict) -> dict[str, jax.Array]:
        return {"sample": decode(draw(state, batch))}

    def classes(state: EnergyState, batch: dict) -> dict[str, int]:
        logits = jax.eval_shape(lambda params, batch: logits_of(params, encode(batch)), state.params, batch)
        return {"label": logits.shape[-1]}

    return Learner(init, update, evaluate, predict, classes=classes if has_classes else None)


def _fold(keys: jax.Array, k: int) -> jax.Array:
    """Derive the keys [B] of one use."""
    return jax.vmap(lambda key: jax.random.fold_in(key, k))(keys)


def _check_buffer(buffer_size: int, count: int) -> None:
    """Refuse a buffer that does not hold the samples of one update."""
    if buffer_size < count:
        raise ValueError(f"buffer_size={buffer_size}: smaller than a batch; allowed: at least {count}")


def _replace_oldest(buffer: jax.Array, pointer: jax.Array, samples: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Write samples [B, *shape] from the pointer on, around the end of the buffer."""
    size, count = len(buffer), len(samples)
    _check_buffer(size, count)
    return buffer.at[(pointer + jnp.arange(count)) % size].set(samples), (pointer + count) % size


def _uniform(keys: jax.Array, shape: tuple[int, ...], start_range: float) -> jax.Array:
    """Draw the noise [B, *shape] that chains start from."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=-start_range, maxval=start_range))(keys)


def _starts(keys: jax.Array, buffer: jax.Array, restart: float | jax.Array, start_range: float) -> jax.Array:
    """Draw the start [B, *shape] of each chain: noise with the probability `restart`, else a row of the buffer."""
    rows = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(buffer)))(_fold(keys, 2))  # [B]
    is_new = jax.vmap(lambda key: jax.random.bernoulli(key, restart))(_fold(keys, 3))  # [B]
    noise = _uniform(_fold(keys, 1), buffer.shape[1:], start_range)
    return jnp.where(is_new.reshape(-1, *[1] * (buffer.ndim - 1)), noise, buffer[rows])


def _sample(
    network: Callable[[jax.Array], jax.Array], keys: jax.Array, start: jax.Array, langevin: Langevin, num_steps: int
) -> jax.Array:
    """Run the chains of examples from their start [B, *shape]; the network gives logits [B, C]."""
    settings = {"num_steps": num_steps, "step_size": langevin.step_size, "noise_scale": langevin.noise_scale}
    noise = noise_of(_fold(keys, 0), start.shape[1:])
    return langevin_sample(lambda x: energy_of(network(x)), start, noise, **settings)
