"""Hard and soft attention: classify a scene from one glimpse at it, and learn where to look.

    a = softmax(f(coarse view of the scene))                         over G x G places
    hard     l ~ a,   p(y | crop_l);     grad = sum_l of [ grad log p(y | crop_l) + (r_l - b_l) grad log a_l ]
    soft     p(y | sum_l a_l crop_l),    differentiable: plain gradient descent
    random   l uniform: what a glimpse is worth without attention

A drawn place has no derivative, so hard attention learns by the score function (REINFORCE): r = 1 for a right answer,
less the mean reward b of the other glimpses drawn at the same scene, plus a bonus on the entropy of a. Mnih et al. 2014
(arXiv:1406.6247) take several glimpses at real-valued places from a recurrent state; places on a grid and the two kinds
of attention are those of Xu et al. 2015 (arXiv:1502.03044). In use a hard glimpse goes to the most probable place.
"""

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics import accuracy
from dlcore.nn import Conv, Dense
from dlcore.ops import affine_grid, grid_sample, max_pool
from dlcore.ops.categorical import sample_categorical
from dlcore.ops.checks import check_boxes, check_shapes
from dlcore.ops.safe_product import safe_product
from dlcore.optim import apply_gradients, init_state
from dlcore.rl.policy_gradient import score_weights

__all__ = ["GlimpseNetwork", "centers", "crop", "learner", "places_inside"]


class GlimpseNetwork(nn.Module):
    """Two small networks: `locate` scores the locations, `classify` the classes of a glimpse.

    Args:
      num_classes: number of classes of the scenes.
      grid: G, places along each side.
      width: channels of the first convolution of either network.
      dtype: dtype of the computation; None takes the parameters'.
    """

    num_classes: int
    grid: Annotated[int, Range(2)] = 12
    width: Annotated[int, Range(1)] = 16
    dtype: Any = None

    def setup(self):
        """Build the layers; both heads start at zero, so that locations and classes are uniform at first."""
        zeros = nn.initializers.zeros
        self.look = [Conv(self.width, (3, 3), dtype=self.dtype) for _ in range(2)]
        self.place = Conv(1, (1, 1), kernel_init=zeros, dtype=self.dtype)
        self.see = [Conv(self.width * n, (3, 3), dtype=self.dtype) for n in (1, 2)]
        self.dense = Dense(4 * self.width, dtype=self.dtype)
        self.head = Dense(self.num_classes, kernel_init=zeros, dtype=self.dtype)

    def locate(self, scene: jax.Array) -> jax.Array:
        """Score the candidate locations from a coarse view of mean values.

        Args:
          scene: [B, H, W, C], H and W multiples of the grid.

        Returns:
          [B, G * G], logits of the places, row by row.
        """
        batch, height, width, channels = scene.shape
        cells = scene.reshape(batch, self.grid, height // self.grid, self.grid, width // self.grid, channels)
        x = cells.mean((2, 4))
        for conv in self.look:
            x = nn.relu(conv(x))
        return self.place(x).reshape(batch, -1).astype(jnp.float32)

    def classify(self, glimpse: jax.Array) -> jax.Array:
        """Classify a glimpse.

        Args:
          glimpse: [B, g, g, C].

        Returns:
          [B, num_classes], logits.
        """
        x = glimpse
        for conv in self.see:
            x = max_pool(nn.relu(conv(x)), (2, 2), (2, 2))
        x = nn.relu(self.dense(x.reshape(x.shape[0], -1)))
        return self.head(x).astype(jnp.float32)

    def __call__(self, scene: jax.Array, glimpse: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Run both networks.

        Args:
          scene: [B, H, W, C].
          glimpse: [B, g, g, C].

        Returns:
          (logits of the places, logits of the classes).
        """
        return self.locate(scene), self.classify(glimpse)


def centers(grid: int, size: tuple[int, int]) -> jax.Array:
    """Compute the centers of the candidate locations.

    Args:
      grid: G.
      size: (H, W) of the scene, in pixels.

    Returns:
      [G * G, 2] of (x, y) in pixels from the scene's corner, row by row.
    """
    check_whole_number("grid", grid, 1)
    if np.shape(size) != (2,):
        raise ValueError(f"size={size}: no sides of a scene; allowed: (H, W)")
    for side in size:
        check_whole_number("size", side, 1)
    height, width = size
    along = (jnp.arange(grid) + 0.5) / grid
    y, x = jnp.meshgrid(along * height, along * width, indexing="ij")
    return jnp.stack([x, y], -1).reshape(-1, 2)


def crop(scene: jax.Array, center: jax.Array, size: int) -> jax.Array:
    """Cut a glimpse out of each scene; what lies outside is zero.

    Args:
      scene: [B, H, W, C].
      center: [B, 2] of (x, y) in pixels from the scene's corner.
      size: g, side of the glimpse, in pixels.

    Returns:
      [B, g, g, C].
    """
    check_whole_number("size", size, 1)
    check_shapes(scene=(scene, "B H W C"), center=(center, "B 2"))
    height, width = scene.shape[1:3]
    extent = jnp.array([width, height], jnp.float32)
    scale, shift = size / extent, 2 * center / extent - 1
    theta = jnp.concatenate([jnp.broadcast_to(jnp.diag(scale), (scene.shape[0], 2, 2)), shift[..., None]], -1)
    return grid_sample(scene, affine_grid(theta, (size, size)))


def places_inside(grid: int, size: tuple[int, int], box: jax.Array) -> jax.Array:
    """Find the candidate locations whose centers lie in a box.

    Args:
      grid: G.
      size: (H, W) of the scene, in pixels.
      box: [B, 4], corners (x, y, x, y) in pixels.

    Returns:
      bool [B, G * G].
    """
    check_shapes(box=(box, "B 4"))
    check_boxes("box", box)
    at = centers(grid, size)
    return ((at >= box[:, None, :2]) & (at < box[:, None, 2:])).all(-1)


class _Glimpse(NamedTuple):
    """Where a scene is looked at, and what is seen there: parameters of the learner."""

    model: GlimpseNetwork
    attention: str
    size: int

    def log_policy(self, params: Any, scene: jax.Array) -> jax.Array:
        """[B, L]."""
        logits = self.model.apply({"params": params}, scene, method="locate")
        return nn.log_softmax(jnp.zeros_like(logits) if self.attention == "random" else logits)

    def classify(self, params: Any, glimpse: jax.Array) -> jax.Array:
        """[B, C]."""
        return self.model.apply({"params": params}, glimpse, method="classify")

    def at(self, scene: jax.Array, location: jax.Array) -> jax.Array:
        """[B, g, g, C]."""
        return crop(scene, centers(self.model.grid, scene.shape[1:3])[location], self.size)

    def mean(self, scene: jax.Array, weights: jax.Array) -> jax.Array:
        """Return the expected glimpse [B, g, g, C] under weights [B, L]."""

        def one(location: jax.Array) -> jax.Array:
            return self.at(scene, jnp.full(scene.shape[0], location))

        return jnp.einsum("bl,lbijc->bijc", weights, jax.vmap(one)(jnp.arange(self.model.grid**2)))

    def attend(self, params: Any, scene: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(policy [B, L], weights of the places that are looked at [B, L], glimpse)."""
        log_policy = self.log_policy(params, scene)
        weights = jnp.exp(log_policy)
        if self.attention == "soft":
            return weights, weights, self.mean(scene, weights)
        location = log_policy.argmax(-1)
        if self.attention == "random":
            location = jax.vmap(sample_categorical)(keys, log_policy)
        return weights, jax.nn.one_hot(location, weights.shape[-1]), self.at(scene, location)


def _pixels(batch: dict) -> jax.Array:
    return batch["image"].astype(jnp.float32) / 255


def _metrics(
    grid: int, losses: jax.Array, logits: jax.Array, attended: jax.Array, batch: dict, mask: jax.Array
) -> Metrics:
    metrics = {"loss": Sum.of(losses, mask), "accuracy": accuracy(logits, batch["label"], mask)}
    if "box" in batch:
        inside = places_inside(grid, batch["image"].shape[1:3], batch["box"])
        metrics["looks"] = Sum.of((attended * inside).sum(-1), mask)
    return metrics


def _soft_objective(glimpse: _Glimpse, params: Any, batch: dict) -> tuple[jax.Array, Metrics]:
    scene, mask = _pixels(batch), mask_of(batch)
    # Soft attention: the expected glimpse.
    weights = jnp.exp(glimpse.log_policy(params, scene))  # [B, L]
    logits = glimpse.classify(params, glimpse.mean(scene, weights))
    losses = softmax_cross_entropy_loss(logits, batch["label"])  # [B]
    return masked_mean(losses, mask), _metrics(glimpse.model.grid, losses, logits, weights, batch, mask)


def _sampled_objective(
    glimpse: _Glimpse, num_glimpses: int, entropy_weight: float | jax.Array, params: Any, batch: dict, keys: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Return the mean loss over all draws; for hard attention, plus what has the score function as its gradient."""
    scene, mask = _pixels(batch), mask_of(batch)
    log_policy = glimpse.log_policy(params, scene)  # [B, L]
    # Sample G glimpse locations of each scene.
    location = jax.vmap(lambda key, s: jax.random.categorical(key, s, shape=(num_glimpses,)))(keys, log_policy)
    many = jax.tree.map(lambda a: jnp.repeat(a, num_glimpses, 0), {**batch, "scene": scene, "mask": mask})
    # Classify each glimpse.
    logits = glimpse.classify(params, glimpse.at(many["scene"], location.reshape(-1)))  # [B G, C]
    losses = softmax_cross_entropy_loss(logits, many["label"])  # [B G]
    value = masked_mean(losses, many["mask"])
    if glimpse.attention == "hard":
        # REINFORCE: reward 1 for a correct class, the other draws of the scene as baseline.
        reward = (logits.argmax(-1) == many["label"]).astype(jnp.float32).reshape(location.shape)  # [B, G]
        weights = jax.vmap(score_weights)(reward[..., None])[..., 0]  # each scene's draws are the episodes
        # Its gradient is that of the score function; an entropy bonus keeps exploration.
        reinforce_term = (jnp.take_along_axis(log_policy, location, 1) * jax.lax.stop_gradient(weights)).mean(-1)
        entropy = -safe_product(jnp.exp(log_policy), log_policy).sum(-1)  # [B]
        value -= masked_mean(reinforce_term + entropy_weight * entropy, mask)
    attended = jax.nn.one_hot(location.reshape(-1), log_policy.shape[-1])
    return value, _metrics(glimpse.model.grid, losses, logits, attended, many, many["mask"])


@check_arguments
def learner(
    *,
    model: GlimpseNetwork,
    optimizer: optax.GradientTransformation,
    attention: Literal["hard", "soft", "random"] = "hard",
    glimpse_size: Annotated[int, Range(4)] = 21,
    num_glimpses: Annotated[int, Range(2)] = 4,
    entropy_weight: Annotated[float, Range(0)] = 0.01,
) -> Learner:
    """Train a classifier of `{"image": [B, H, W, C] uint8, "label": [B] int32, "index": [B]}` by one glimpse.

    Args:
      model: network that chooses locations and encodes glimpses.
      optimizer: any optax transformation.
      attention: one place drawn by the policy, the mean of all glimpses under it, or one place drawn uniformly.
      glimpse_size: g, side of a glimpse in pixels.
      num_glimpses: hard and random: draws at each scene of a training step, each a classification of its own.
      entropy_weight: weight of the policy's entropy, in nats, for hard attention.

    Returns:
      The learner. With `box: [B, 4]` in a batch, the metric `looks` is the share of glimpses whose center lies in the
      box, for soft attention the weight there. `predict` returns `{"probabilities": [B, C], "attention": [B, G * G],
      "glimpse": [B, g, g, C]}`.
    """
    glimpse = _Glimpse(model, attention, glimpse_size)

    def init(rng: jax.Array, batch: dict) -> State:
        scene = _pixels(batch)
        params = model.init(jax.random.fold_in(rng, 0), scene, scene[:, :glimpse_size, :glimpse_size])["params"]
        return init_state(params, optimizer, rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        def objective(params: Any) -> tuple[jax.Array, Metrics]:
            if attention == "soft":
                return _soft_objective(glimpse, params, batch)
            # New glimpses at each step.
            keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
            return _sampled_objective(glimpse, num_glimpses, entropy_weight, params, batch, keys)

        # Gradient through the glimpse (soft) or by the score function (hard).
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        _, attended, patch = glimpse.attend(state.params, _pixels(batch), example_keys(state.rng, batch))
        logits = glimpse.classify(state.params, patch)
        losses = softmax_cross_entropy_loss(logits, batch["label"])
        return _metrics(model.grid, losses, logits, attended, batch, mask_of(batch))

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        weights, attended, patch = glimpse.attend(state.params, _pixels(batch), example_keys(state.rng, batch))
        probabilities = nn.softmax(glimpse.classify(state.params, patch))
        return {"probabilities": probabilities, "attention": weights, "looked": attended, "glimpse": patch}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"label": model.num_classes}

    def soft_loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return _soft_objective(glimpse, params, batch)

    return Learner(init, update, evaluate, predict, soft_loss if attention == "soft" else None, classes=classes)
