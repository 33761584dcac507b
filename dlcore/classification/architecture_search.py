"""Neural architecture search by reinforcement: a recurrent controller samples networks and learns from their accuracy.

Zoph & Le, "Neural architecture search with reinforcement learning" (2016), arXiv:1611.01578. The space is the cell of
Dong & Yang, "NAS-Bench-201" (2020), arXiv:2001.00326, with three operations: an architecture a = (a_1, ..., a_6) has
one for each edge of the complete graph of four nodes, so that all 729 can be tried.

    node_j = sum_{i < j} op_{a_ij}(node_i)                     op: none (zeros), skip (identity), conv (3x3, BN, relu)
    pi(a) = prod_t softmax(W h_t)_{a_t},   h_t = LSTM(h_{t-1}, e(a_{t-1}))                              the controller
    gradient = mean_k (R_k - b) grad log pi(a_k) + beta grad entropy;   b <- mu b + (1 - mu) mean R

R is the accuracy on validation data of the child that was trained from scratch. Every edge computes all operations and
takes one, so that `train_child` is one compiled program for every architecture and can be mapped over thousands.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.losses import entropy_loss, softmax_cross_entropy_loss
from dlcore.nn import BatchNorm, Conv, Dense, Embed
from dlcore.nn.initializers import orthogonal
from dlcore.ops import global_avg_pool, max_pool
from dlcore.ops.categorical import sample_categorical
from dlcore.ops.checks import check_class_ids, check_indices, check_shapes

__all__ = [
    "EDGES",
    "OPERATIONS",
    "CellNet",
    "Controller",
    "Search",
    "all_architectures",
    "reinforce_search",
    "reward_advantages",
    "train_child",
    "train_network",
]

OPERATIONS = ("none", "skip", "conv")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def all_architectures() -> np.ndarray:
    """List every architecture.

    Returns:
      [729, 6] int32, the operation on each edge of `EDGES`.
    """
    return np.array(list(np.ndindex(*(len(OPERATIONS),) * len(EDGES))), np.int32)


class CellNet(nn.Module):
    """Stem, copies of one cell with a 2x2 max pooling between, average, head. The architecture is an input.

    Args:
      num_classes: C.
      width: channels of every map.
      cells: copies of the cell.
    """

    num_classes: int = 10
    width: int = 8
    cells: int = 2

    @nn.compact
    def __call__(self, x: jax.Array, architecture: jax.Array, train: bool = False) -> jax.Array:
        """Classify images.

        Args:
          x: [B, H, W, C].
          architecture: [6] int, the operation on each edge.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          Logits [B, num_classes].
        """
        x = Conv(self.width, (3, 3), padding=1, name="stem")(x)
        for cell in range(self.cells):
            x = x if cell == 0 else max_pool(x, (2, 2), (2, 2))
            nodes = [x]
            for j in range(1, 4):
                nodes.append(sum(self._edge(nodes[i], architecture, cell, i, j, train) for i in range(j)))
            x = nodes[-1]
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(global_avg_pool(x))

    def _edge(self, x: jax.Array, architecture: jax.Array, cell: int, i: int, j: int, train: bool) -> jax.Array:
        name = f"cell{cell}_{i}{j}"
        conv = Conv(self.width, (3, 3), padding=1, use_bias=False, name=f"{name}_conv")
        norm = BatchNorm(not train, name=f"{name}_norm")
        operation = architecture[EDGES.index((i, j))]
        choices = [jnp.zeros_like(x), x, nn.relu(norm(conv(x)))]
        return jnp.stack(choices)[operation]


def train_child(
    key: jax.Array,
    architecture: jax.Array,
    data: dict[str, jax.Array],
    *,
    steps: int = 100,
    batch_size: int = 64,
    learning_rate: float | jax.Array = 1e-2,
    width: int = 8,
) -> jax.Array:
    """Train one child from scratch by Adam on a cosine schedule.

    Args:
      key: PRNG key of initialization and batches.
      architecture: [6] int.
      data: `image: [N, H, W, C]`, `label: [N]`, and `valid_image`, `valid_label` to measure it by.
      steps: number of steps of training.
      batch_size: drawn with replacement.
      learning_rate: learning rate at the start.
      width: width of the CellNet.

    Returns:
      [], accuracy on the validation data.
    """
    check_shapes(architecture=(architecture, f"int {len(EDGES)}"), width=(width, "int >= 1"))
    check_indices("architecture", architecture, len(OPERATIONS), "operations")
    # Train the child from its initial weights for a few steps.
    net = CellNet(width=width)
    _check_data(net, data, "valid_image", "valid_label")
    schedule = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    variables = train_network(key, net, lambda i: architecture, data, **schedule)
    # Its validation accuracy is the reward.
    logits = net.apply(variables, data["valid_image"], architecture)
    return (logits.argmax(-1) == data["valid_label"]).mean()


def train_network(
    key: jax.Array,
    net: nn.Module,
    architecture_at: Callable[[jax.Array | int], jax.Array],
    data: dict[str, jax.Array],
    *,
    steps: int,
    batch_size: int = 64,
    learning_rate: float | jax.Array = 1e-2,
) -> dict[str, Any]:
    """Train a network by Adam on a cosine schedule, with one architecture for all steps, or another at each.

    Args:
      key: PRNG key of initialization and batches.
      net: a module of (image, architecture, train), with batch norm.
      architecture_at: step -> the architecture that is trained there.
      data: `image: [N, H, W, C]` and `label: [N]`.
      steps: number of steps of training.
      batch_size: drawn with replacement.
      learning_rate: learning rate at the start.

    Returns:
      The network's `params` and `batch_stats`.
    """
    _check_data(net, data, "image", "label")
    check_shapes(steps=(steps, "int >= 1"), batch_size=(batch_size, "int >= 1"), learning_rate=(learning_rate, ">= 0"))
    start = jax.random.fold_in(key, 0)
    variables = net.init(start, data["image"][:1], architecture_at(0))
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def step(carry: tuple, i: jax.Array) -> tuple[tuple, None]:
        params, stats, opt_state = carry
        rows = jax.random.randint(jax.random.fold_in(key, i + 1), (batch_size,), 0, len(data["label"]))

        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, state = net.apply(
                {"params": params, "batch_stats": stats},
                data["image"][rows],
                architecture_at(i),
                True,
                mutable=["batch_stats"],
            )
            return softmax_cross_entropy_loss(logits, data["label"][rows]).mean(), state["batch_stats"]

        gradient, stats = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), stats, opt_state), None

    params = variables["params"]
    carry = (params, variables["batch_stats"], optimizer.init(params))
    (params, stats, _), _ = jax.lax.scan(step, carry, jnp.arange(steps))
    return {"params": params, "batch_stats": stats}


def _check_data(net: nn.Module, data: dict[str, jax.Array], image: str, label: str) -> None:
    for name in (image, label):
        if name not in (data or {}):
            raise ValueError(f"data: no {name!r}; allowed: a dict with {image!r} and {label!r}")
    check_shapes(**{f"data[{label!r}]": (data[label], "int N")})
    count = len(data[label])
    if not count or np.shape(data[image])[:1] != (count,):
        raise ValueError(
            f"data[{label!r}]: {count} of {np.shape(data[image])} images; allowed: one for each, at least 1"
        )
    if hasattr(net, "num_classes"):
        check_class_ids(f"data[{label!r}]", data[label], net.num_classes)


class Controller(nn.Module):
    """An LSTM that chooses the operation of one edge after the other; at the start all are equally likely.

    Args:
      hidden_size: width of the LSTM.
    """

    hidden_size: int = 32

    @nn.compact
    def __call__(self, architecture: jax.Array) -> jax.Array:
        """Predict the operation on each edge from those before it.

        Args:
          architecture: [6] int.

        Returns:
          [6, 3], log-probabilities of each operation.
        """
        count = len(OPERATIONS)
        before = jnp.concatenate([jnp.full((1,), count), architecture[:-1]])
        inputs = Embed(count + 1, self.hidden_size, name="embed")(before)
        outputs = nn.RNN(nn.OptimizedLSTMCell(self.hidden_size, recurrent_kernel_init=orthogonal()), name="lstm")(
            inputs
        )
        return jax.nn.log_softmax(Dense(count, kernel_init=nn.initializers.zeros, name="head")(outputs))


def sample(key: jax.Array, controller: nn.Module, params: Any, length: int = len(EDGES)) -> jax.Array:
    """Draw an architecture [length] int32 from the controller."""

    def choose(t: int, architecture: jax.Array) -> jax.Array:
        scores = controller.apply({"params": params}, architecture)[t]
        return architecture.at[t].set(sample_categorical(jax.random.fold_in(key, t), scores))

    return jax.lax.fori_loop(0, length, choose, jnp.zeros(length, jnp.int32))


def most_likely(controller: nn.Module, params: Any, length: int = len(EDGES)) -> jax.Array:
    """Return the architecture [length] int32 of the most likely option of every choice, given those before."""

    def choose(t: int, architecture: jax.Array) -> jax.Array:
        return architecture.at[t].set(controller.apply({"params": params}, architecture)[t].argmax())

    return jax.lax.fori_loop(0, length, choose, jnp.zeros(length, jnp.int32))


class Search(NamedTuple):
    """Result of an architecture search: the sampled architectures with their rewards, and the chosen one.

    Args:
      architectures: [K, T] int32, in the order of trial; T is 6 for a cell.
      rewards: [K].
      choice: [T] int32, the controller's most likely at the end.
    """

    architectures: jax.Array
    rewards: jax.Array
    choice: jax.Array


def reward_advantages(
    rewards: jax.Array, mean: jax.Array, square: jax.Array, decay: float | jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Compare rewards with their running mean, in units of their running deviation from it.

    Args:
      rewards: [children].
      mean: [], running mean of the rewards before.
      square: [], running mean of their squared deviations.
      decay: share of the running means that stays; 0 at the first rewards.

    Returns:
      (advantages [children], the running mean, the running mean of squares).
    """
    check_shapes(rewards=(rewards, "K"), mean=(mean, "finite"), square=(square, ">= 0"), decay=(decay, "0 to 1"))
    if not len(rewards):
        raise ValueError("rewards=[]: empty; allowed: at least one child")
    mean = decay * mean + (1 - decay) * rewards.mean()
    square = decay * square + (1 - decay) * jnp.square(rewards - mean).mean()
    return (rewards - mean) / jnp.sqrt(square + 1e-8), mean, square


def reinforce_search(
    key: jax.Array,
    reward: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    updates: int = 25,
    children: int = 4,
    learning_rate: float | jax.Array = 0.02,
    entropy_weight: float | jax.Array = 0.1,
    baseline_decay: float | jax.Array = 0.8,
    controller: nn.Module | None = None,
    length: int = len(EDGES),
) -> Search:
    """Search by REINFORCE: sample architectures, measure them, and update the controller by their rewards.

    Rewards are compared with their running mean and divided by their running spread, so that `learning_rate` does not
    depend on their scale.

    Args:
      key: PRNG key of initialization and draws.
      reward: (key, architecture [length]) -> scalar, larger is better; called one by one (`lax.map`).
      updates: number of updates of the controller.
      children: architectures sampled for each update.
      learning_rate: learning rate of the controller.
      entropy_weight: beta.
      baseline_decay: mu.
      controller: a module of architecture [length] -> log-probabilities [length, options], row t of which reads no
        choice after t - 1; None: the Controller of a cell.
      length: number of choices T of an architecture.

    Returns:
      The search.
    """
    check_shapes(updates=(updates, "int >= 1"), children=(children, "int >= 1"), length=(length, "int >= 1"))
    check_shapes(
        learning_rate=(learning_rate, ">= 0"),
        entropy_weight=(entropy_weight, ">= 0"),
        baseline_decay=(baseline_decay, "0 to 1"),
    )
    controller = controller or Controller()
    params = controller.init(jax.random.fold_in(key, 0), jnp.zeros(length, jnp.int32))["params"]
    optimizer = optax.adam(learning_rate)

    def update(carry: tuple, i: jax.Array) -> tuple[tuple, tuple]:
        params, opt_state, mean, square = carry
        keys = jax.random.split(jax.random.fold_in(key, i + 1), (2, children))
        # Sample child architectures from the controller.
        architectures = jax.vmap(lambda key: sample(key, controller, params, length))(keys[0])  # [children, T]
        # Train and measure each child.
        rewards = jax.lax.map(lambda x: reward(*x), (keys[1], architectures))  # [children]
        # EMA baseline and scale of the rewards.
        advantages, mean, square = reward_advantages(rewards, mean, square, jnp.where(i == 0, 0, baseline_decay))

        def loss(params: Any) -> jax.Array:
            log_probabilities = jax.vmap(lambda a: controller.apply({"params": params}, a))(architectures)
            # REINFORCE with an entropy bonus.
            log_prob = jnp.take_along_axis(log_probabilities, architectures[..., None], -1)[..., 0].sum(-1)
            entropy = entropy_loss(log_probabilities).sum(-1)  # [children]
            return -(jax.lax.stop_gradient(advantages) * log_prob + entropy_weight * entropy).mean()

        # Optimizer step of the controller.
        changes, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
        return (optax.apply_updates(params, changes), opt_state, mean, square), (architectures, rewards)

    carry = (params, optimizer.init(params), jnp.zeros(()), jnp.zeros(()))
    (params, *_), (architectures, rewards) = jax.lax.scan(update, carry, jnp.arange(updates))
    choice = most_likely(controller, params, length)
    return Search(architectures.reshape(-1, length), rewards.reshape(-1), choice)
