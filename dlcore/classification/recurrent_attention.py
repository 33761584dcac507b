"""The recurrent attention model: classify a scene from several glimpses, and choose each next one from those before.

    g_t = relu(W_1 relu(W_2 retina(x, l_t)) + W_3 relu(W_4 l_t))     glimpse of the scene x at location l_t
    h_t = relu(W_h h_{t-1} + W_g g_t + b)                            recurrent core
    p_t = softmax(W_c h_t)                                           class after t glimpses
    l_{t+1} ~ N(tanh(W_l sg(h_t)), sigma^2 I),   b_t = W_b sg(h_t)   next location and baseline; sg: stop_gradient

    loss = mean_t -log p_t[y]  -  sum_{t<T} log N(l_{t+1}) sg(G_t - b_t)  +  sum_{t<T} (G_t - b_t)^2
    G_t  = sum_{t'>t} 1[argmax p_t' = y],   the reward to go of location l_{t+1}

Mnih, Heess, Graves & Kavukcuoglu 2014 (arXiv:1406.6247). The retina takes square patches about one center, each twice
as large as the one before at half its resolution. The paper classifies after the last glimpse alone and starts at a
random location. Here every glimpse is classified and rewarded, so that one network shows what each glimpse adds, and
the first glimpse is at the center. In use a location is the mean of its distribution.
"""

import functools
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics import accuracy
from dlcore.nn import Dense
from dlcore.ops.checks import check_shapes
from dlcore.optim import apply_gradients, init_state
from dlcore.rl.policy_gradient import returns_to_go

__all__ = ["FIXED_LOCATIONS", "RecurrentAttention", "learner", "retina"]

FIXED_LOCATIONS = ((0.0, 0.0), (-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
"""Locations (x, y) in [-1, 1] of the fixed policy, in turn: the center, then the center of each quadrant."""


class RecurrentAttention(nn.Module):
    """Glimpse network, recurrent core, and three heads: class, mean of the next location, baseline.

    Args:
      num_classes: number of classes of the scenes.
      glimpse_features: width of each path of the glimpse network, the one of pixels and the one of locations.
      hidden_size: width of the recurrent core.
      dtype: dtype of computation; None takes the parameters'.
    """

    num_classes: int
    glimpse_features: Annotated[int, Range(1)] = 64
    hidden_size: Annotated[int, Range(1)] = 128
    dtype: Any = None

    def initial_carry(self, batch_size: int) -> jax.Array:
        """Make the zero state before the first glimpse.

        Args:
          batch_size: B, number of scenes.

        Returns:
          [B, hidden_size].
        """
        return jnp.zeros((batch_size, self.hidden_size), jnp.float32)

    @nn.compact
    def __call__(
        self, carry: jax.Array, glimpse: jax.Array, location: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Take in one glimpse.

        Args:
          carry: [B, hidden_size], state after the glimpses before.
          glimpse: [B, S, g, g, C], what the retina returns.
          location: [B, 2], where the glimpse was taken, in [-1, 1].

        Returns:
          (carry [B, hidden_size], logits of the classes [B, num_classes], mean of the next location [B, 2] in [-1, 1],
          baseline [B]).
        """

        def dense(features: int, name: str, **options) -> Dense:
            return Dense(features, dtype=self.dtype, name=name, **options)

        width, zeros = self.glimpse_features, nn.initializers.zeros
        # What and where become one vector.
        what = nn.relu(dense(width, "pixels")(glimpse.reshape(glimpse.shape[0], -1)))
        where = nn.relu(dense(width, "location")(location))
        joint = nn.relu(dense(2 * width, "what")(what) + dense(2 * width, "where", use_bias=False)(where))
        hidden = dense(self.hidden_size, "core", use_bias=False)(carry) + dense(self.hidden_size, "input")(joint)
        carry = nn.relu(hidden).astype(jnp.float32)
        # The policy and the baseline learn from the reward alone: no gradient into the core.
        fixed = jax.lax.stop_gradient(carry)
        logits = dense(self.num_classes, "classifier", kernel_init=zeros)(carry)
        mean = jnp.tanh(dense(2, "policy", kernel_init=zeros)(fixed))
        baseline = dense(1, "baseline", kernel_init=zeros)(fixed)[..., 0]
        return carry, logits.astype(jnp.float32), mean.astype(jnp.float32), baseline.astype(jnp.float32)


def retina(scene: jax.Array, location: jax.Array, size: int, num_scales: int) -> jax.Array:
    """Cut patches of several scales about one center; what lies outside of the scene is zero.

    Args:
      scene: [B, H, W, C], H and W multiples of 2^(S - 1).
      location: [B, 2] of (x, y); -1 is the left or upper edge, 1 the right or lower one.
      size: g, side of every patch in pixels of its scale.
      num_scales: S, number of patches; patch s is cut from the scene averaged over blocks of 2^s x 2^s pixels.

    Returns:
      [B, S, g, g, C].
    """
    check_whole_number("size", size, 1)
    check_whole_number("num_scales", num_scales, 1)
    check_shapes(scene=(scene, "B H W C"), location=(location, "B 2"))
    _check_scales(*scene.shape[1:3], num_scales)
    batch, height, width, channels = scene.shape
    patches = []
    for factor in (2**s for s in range(num_scales)):
        blocks = scene.reshape(batch, height // factor, factor, width // factor, factor, channels).mean((2, 4))
        columns = _bilinear(location[:, 0], width // factor, size)
        rows = _bilinear(location[:, 1], height // factor, size)
        patches.append(jnp.einsum("byh,bxw,bhwc->byxc", rows, columns, blocks))
    return jnp.stack(patches, 1)


def _bilinear(center: jax.Array, length: int, size: int) -> jax.Array:
    """Weights [B, size, length] of the pixels of one axis in samples one pixel apart about centers [B] in [-1, 1]."""
    at = (center[:, None] + 1) / 2 * length + jnp.arange(size) - (size - 1) / 2  # [B, size]
    return nn.relu(1 - jnp.abs(at[..., None] - jnp.arange(length) - 0.5))


class _Glimpses(NamedTuple):
    """How a scene is looked at: parameters of the learner."""

    policy: str
    num_glimpses: int
    glimpse_size: int
    num_scales: int
    location_std: float | jax.Array

    def at(self, scene: jax.Array, location: jax.Array) -> jax.Array:
        """[B, S, g, g, C]."""
        return retina(scene, location, self.glimpse_size, self.num_scales)


def _pixels(batch: dict) -> jax.Array:
    return batch["image"].astype(jnp.float32) / 255


def _unroll(
    model: nn.Module, glimpses: _Glimpses, params: Any, scene: jax.Array, keys: jax.Array, std: float | jax.Array
) -> dict[str, jax.Array]:
    """Arrays [T, B, ...] of all glimpses; log_prob and baseline at t belong to the location of glimpse t + 1."""
    shape = glimpses.num_glimpses, 2

    def draw(key):
        uniform = jax.random.uniform(jax.random.fold_in(key, 1), shape, minval=-1, maxval=1)
        return jax.random.normal(jax.random.fold_in(key, 0), shape), uniform

    noise, uniform = (a.swapaxes(0, 1) for a in jax.vmap(draw)(keys))  # [T, B, 2]
    turn = jnp.arange(1, glimpses.num_glimpses + 1) % len(FIXED_LOCATIONS)
    fixed = jnp.broadcast_to(jnp.array(FIXED_LOCATIONS)[turn][:, None], noise.shape)

    def step(state, xs):
        carry, location = state
        noise, uniform, fixed = xs
        glimpse = glimpses.at(scene, location)
        carry, logits, mean, baseline = model.apply({"params": params}, carry, glimpse, location)
        sampled = jax.lax.stop_gradient(mean + std * noise)
        log_prob = -jnp.square((sampled - mean) / glimpses.location_std).sum(-1) / 2
        following = {"learned": sampled.clip(-1, 1), "fixed": fixed, "random": uniform}[glimpses.policy]
        outputs = {"logits": logits, "location": location, "log_prob": log_prob, "baseline": baseline}
        return (carry, following), outputs

    start = (model.initial_carry(len(scene)), jnp.zeros((len(scene), 2)))
    return jax.lax.scan(step, start, (noise, uniform, fixed))[1]


def _class_losses(outputs: dict[str, jax.Array], batch: dict) -> jax.Array:
    """[T, B]."""
    labels = jnp.broadcast_to(batch["label"], outputs["logits"].shape[:2])
    return softmax_cross_entropy_loss(outputs["logits"], labels)


def _policy_losses(outputs: dict[str, jax.Array], batch: dict, policy_weight: float | jax.Array) -> jax.Array:
    """[B], squared error of the baseline, and REINFORCE with it."""
    # A location is credited with the correct classes of the glimpses from it on.
    reward = (outputs["logits"].argmax(-1) == batch["label"]).astype(jnp.float32)  # [T, B]
    returns = jax.vmap(returns_to_go, 1, 1)(reward[1:])  # [T - 1, B]
    advantage = returns - outputs["baseline"][:-1]  # [T - 1, B]
    score = (outputs["log_prob"][:-1] * jax.lax.stop_gradient(advantage)).sum(0)  # [B]
    # The baseline regresses the return.
    return jnp.square(advantage).sum(0) - policy_weight * score


def _metrics(outputs: dict[str, jax.Array], losses: jax.Array, batch: dict) -> Metrics:
    mask, logits = mask_of(batch), outputs["logits"]
    metrics = {"loss": Sum.of(losses.mean(0), mask), "accuracy": accuracy(logits[-1], batch["label"], mask)}
    metrics |= {f"accuracy_{t + 1}": accuracy(logits[t], batch["label"], mask) for t in range(len(logits))}
    if "box" in batch and len(logits) > 1:
        height, width = batch["image"].shape[1:3]
        at = (outputs["location"][1:] + 1) / 2 * jnp.array([width, height])  # [T - 1, B, 2]
        inside = ((at >= batch["box"][:, :2]) & (at < batch["box"][:, 2:])).all(-1)
        metrics["looks"] = Sum.of(inside.mean(0), mask)
    return metrics


def _check_scenes(height: int, width: int, glimpse_size: int, num_scales: int) -> None:
    if glimpse_size > min(height, width):
        raise ValueError(
            f"glimpse_size={glimpse_size}: larger than the scene of {height} x {width}; "
            f"allowed: at most {min(height, width)}"
        )
    _check_scales(height, width, num_scales)


def _check_scales(height: int, width: int, num_scales: int) -> None:
    if height % 2 ** (num_scales - 1) or width % 2 ** (num_scales - 1):
        raise ValueError(
            f"num_scales={num_scales}: does not fit scenes of {height} x {width}; "
            f"allowed: sides that are multiples of {2 ** (num_scales - 1)}"
        )


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    policy: Literal["learned", "fixed", "random"] = "learned",
    num_glimpses: Annotated[int, Range(1)] = 4,
    glimpse_size: Annotated[int, Range(2)] = 8,
    num_scales: Annotated[int, Range(1)] = 3,
    location_std: Annotated[float, Range(1e-3)] = 0.2,
    policy_weight: Annotated[float, Range(0)] = 1.0,
) -> Learner:
    """Train a classifier of `{"image": [B, H, W, C] uint8, "label": [B] int32, "index": [B]}` by several glimpses.

    Args:
      model: `__call__(carry, glimpse, location) -> (carry, logits, mean of the next location, baseline)`, and
        `initial_carry(B)`, as RecurrentAttention.
      optimizer: any optax transformation.
      policy: how locations after the first are chosen: by the network, by FIXED_LOCATIONS, or uniformly at random.
      num_glimpses: T, number of glimpses of each scene.
      glimpse_size: g, side of each patch of a glimpse, in pixels of its scale.
      num_scales: S, number of patches of a glimpse, each of half the resolution of the one before.
      location_std: sigma, standard deviation of a sampled location; the scene spans 2.
      policy_weight: weight of the score-function term.

    Returns:
      The learner. `accuracy_1` .. `accuracy_T` are the accuracies after each glimpse, and `accuracy` is the last. With
      `box: [B, 4]` in a batch, `looks` is the share of the later glimpses whose center lies in the box. `predict`
      returns `{"probabilities": [B, T, num_classes], "locations": [B, T, 2], "glimpses": [B, T, S, g, g, C]}`.
    """
    glimpses = _Glimpses(policy, num_glimpses, glimpse_size, num_scales, location_std)
    unroll = functools.partial(_unroll, model, glimpses)

    def init(rng: jax.Array, batch: dict) -> State:
        _check_scenes(*batch["image"].shape[1:3], glimpse_size, num_scales)
        scene, location = _pixels(batch), jnp.zeros((batch["image"].shape[0], 2))
        carry, key = model.initial_carry(scene.shape[0]), jax.random.fold_in(rng, 0)
        params = model.init(key, carry, glimpses.at(scene, location), location)["params"]
        return init_state(params, optimizer, rng)

    def objective(params: Any, batch: dict, keys: jax.Array) -> tuple[jax.Array, Metrics]:
        # Run over T glimpses, each next location sampled.
        outputs, mask = unroll(params, _pixels(batch), keys, location_std), mask_of(batch)
        # Cross-entropy of the class after each glimpse.
        losses = _class_losses(outputs, batch)  # [T, B]
        value = masked_mean(losses.mean(0), mask)
        if policy == "learned" and num_glimpses > 1:
            value += masked_mean(_policy_losses(outputs, batch, policy_weight), mask)
        return value, _metrics(outputs, losses, batch)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # New locations at each step.
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
        # Gradient of the class losses, by the score function for the policy.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch, keys)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        outputs = unroll(state.params, _pixels(batch), example_keys(state.rng, batch), 0.0)
        return _metrics(outputs, _class_losses(outputs, batch), batch)

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        scene = _pixels(batch)
        outputs = unroll(state.params, scene, example_keys(state.rng, batch), 0.0)
        location = outputs["location"]  # [T, B, 2]
        patches = jax.vmap(lambda location: glimpses.at(scene, location), out_axes=1)(location)
        probabilities = nn.softmax(outputs["logits"]).swapaxes(0, 1)
        return {"probabilities": probabilities, "locations": location.swapaxes(0, 1), "glimpses": patches}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"label": model.num_classes}

    return Learner(init, update, evaluate, predict, classes=classes)
