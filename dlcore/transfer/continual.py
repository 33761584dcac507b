"""Continual learning: one task after the other, without forgetting the earlier ones.

Three scenarios (van de Ven & Tolias 2019, arXiv:1904.07734), by what is known when the network is used:

    task      which task an image is of: the network chooses among that task's classes
    domain    not even that, but nor is it asked: which class within its task, by outputs that all tasks share
    class     nothing: the network chooses among all classes so far

Strategies, for task t:

    naive     L_t
    replay    L_t / t + (1 - 1/t) L on a batch of stored images, `buffer` of each class
    ewc       L_t + strength / 2 sum_k<t sum_i F_ki (w_i - w_ki)^2      Kirkpatrick et al. 2017, arXiv:1612.00796
    joint     L on all tasks so far: what could be had

F_k is the diagonal of the Fisher information at the weights w_k that task k ended with, summed over its examples'
mean. There are two in use, and they differ (van de Ven 2025, arXiv:2502.11756): `model` squares the gradient of log
p(y | x) at labels drawn from the network's own p, which is the Fisher information; `empirical` takes the true labels.

Elastic weight consolidation cannot help in the scenario `class`: what it protects tells classes of one task apart, and
no loss ever compared the tasks. The literature's Split MNIST: none 19.9 %, EWC 20.0 %.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.choices import check_whole_number
from dlcore.learner import Range, check_arguments, root_key
from dlcore.ops.categorical import sample_categorical
from dlcore.ops.checks import check_class_ids, check_finite, check_range, check_shapes

__all__ = ["SCENARIOS", "STRATEGIES", "Recipe", "TaskData", "fisher_diagonal", "forgetting", "learn_in_turn"]

SCENARIOS = ("task", "domain", "class")
STRATEGIES = ("naive", "replay", "ewc", "joint")


class TaskData(NamedTuple):
    """Examples of all tasks; those of a task are known by their class.

    Args:
      images: [N, ...] float.
      labels: [N] int from 0, over all tasks: task k has the classes k c to k c + c - 1.
    """

    images: np.ndarray
    labels: np.ndarray


class Recipe(NamedTuple):
    """How each task is learned.

    Args:
      steps: number of steps of each task.
      batch_size: images of a step, and as many stored ones.
      learning_rate: learning rate of Adam, which starts anew with each task.
      buffer: images of each class that replay stores, drawn at random.
      strength: strength of EWC.
      fisher: labels of the Fisher information: model, drawn from the network's probabilities; empirical, the data's.
      fisher_size: images that it is averaged over, at most.
    """

    steps: Annotated[int, Range(1)] = 500
    batch_size: Annotated[int, Range(1)] = 64
    learning_rate: Annotated[float, Range(0)] = 1e-3
    buffer: Annotated[int, Range(1)] = 20
    strength: Annotated[float, Range(0)] = 1000.0
    fisher: Literal["model", "empirical"] = "model"
    fisher_size: Annotated[int, Range(1)] = 5000


def fisher_diagonal(
    log_probabilities: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    labels: jax.Array | None = None,
    key: jax.Array | None = None,
    chunk: int = 50,
) -> Any:
    """Average the squared gradient of each example's log probability.

    Args:
      log_probabilities: (params, images [B, ...]) -> [B, C].
      params: parameters at which it is taken.
      images: [N, ...].
      labels: [N] int, the true ones, for the empirical Fisher information; None draws each from the model.
      key: PRNG key for sampling; needed without labels.
      chunk: examples whose gradients are held at once.

    Returns:
      A tree like `params`.
    """
    check_whole_number("chunk", chunk, 1)
    if not len(images):
        raise ValueError("images=[0]: none; allowed: at least one")
    check_shapes(labels=(labels, f"int {len(images)} or None"))
    if labels is None:
        if key is None:
            raise ValueError("key=None: labels cannot be drawn; allowed: a key, or labels")
        # True Fisher information: labels drawn from the model.
        sample_label = functools.partial(sample_categorical, key)
        labels = sample_label(jax.lax.map(lambda x: log_probabilities(params, x[None])[0], images, batch_size=chunk))
    check_class_ids("labels", labels, jax.eval_shape(log_probabilities, params, images[:1]).shape[-1])

    def gradient(example: tuple[jax.Array, jax.Array]) -> Any:
        image, label = example
        return jax.grad(lambda p: log_probabilities(p, image[None])[0, label])(params)

    def add(total: Any, examples: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        # Sum of squared gradients, one gradient an example.
        squares = jax.tree.map(lambda g: jnp.square(g).sum(0), jax.vmap(gradient)(examples))
        return jax.tree.map(jnp.add, total, squares), None

    whole = len(images) // chunk * chunk
    total = jax.tree.map(jnp.zeros_like, params)
    if whole:
        parts = tuple(x[:whole].reshape(-1, chunk, *x.shape[1:]) for x in (images, labels))
        total, _ = jax.lax.scan(add, total, parts)
    if whole < len(images):
        total, _ = add(total, (images[whole:], labels[whole:]))
    return jax.tree.map(lambda x: x / len(images), total)


def forgetting(accuracies: np.ndarray) -> float:
    """Average what was lost of each earlier task (Chaudhry et al. 2018, arXiv:1801.10112).

    Args:
      accuracies: [T, T] in [0, 1], entry (i, j) on task j after task i was learned.

    Returns:
      The mean over the tasks but the last of their best accuracy so far less that at the end.
    """
    accuracies = np.asarray(accuracies, np.float64)
    if accuracies.ndim != 2 or len(accuracies) < 2 or len(accuracies) != accuracies.shape[1]:
        raise ValueError(f"accuracies={list(accuracies.shape)}: wrong shape; allowed: [T, T] of at least two tasks")
    check_range("accuracies", accuracies, 0, 1)
    last = len(accuracies) - 1
    return float(np.mean([accuracies[j:last, j].max() - accuracies[last, j] for j in range(last)]))


def allowed_outputs(scenario: str, labels: jax.Array, seen: int | jax.Array, per_task: int, outputs: int) -> jax.Array:
    """Return the outputs that may answer, [N, outputs] bool, after `seen` tasks."""
    output_idx = jnp.arange(outputs)
    if scenario == "task":
        return output_idx // per_task == labels[:, None] // per_task
    is_allowed = output_idx < (outputs if scenario == "domain" else seen * per_task)
    return jnp.broadcast_to(is_allowed, (len(labels), outputs))


@check_arguments
def learn_in_turn(
    net: Any,
    train: TaskData,
    test: TaskData,
    *,
    scenario: Literal["task", "domain", "class"],
    strategy: Literal["naive", "replay", "ewc", "joint"],
    classes_per_task: Annotated[int, Range(1)] = 2,
    seeds: Annotated[int, Range(1)] = 1,
    recipe: Recipe = Recipe(),
) -> np.ndarray:
    """Learn tasks in the order of their classes.

    Args:
      net: flax module, images [B, ...] -> logits; of all classes, or with the scenario `domain` of one task.
      train: split to learn from.
      test: split to measure on.
      scenario: what is known at test time, see above.
      strategy: against forgetting, see above.
      classes_per_task: c.
      seeds: networks that are trained side by side, each with its own weights and batches.
      recipe: recipe of each task.

    Returns:
      [seeds, T, T], entry (i, j) the accuracy on task j after task i was learned; 0 in the scenario `class` where task
      j is not known yet.
    """
    classes, counts = np.unique(train.labels, return_counts=True)
    tasks, rest = divmod(len(classes), classes_per_task)
    if tasks < 2 or rest:
        raise ValueError(f"classes_per_task={classes_per_task}: of {len(classes)} classes; allowed: two tasks or more")
    for name, data in (("train", train), ("test", test)):
        check_shapes(**{f"{name}.labels": (data.labels, f"int {len(data.images)}")})
        check_class_ids(f"{name}.labels", data.labels, len(classes))
        check_finite(f"{name}.images", data.images)
    if without := set(range(tasks)) - set(np.unique(test.labels // classes_per_task).tolist()):
        raise ValueError(f"test.labels: no example of task {min(without)}; allowed: examples of each of {tasks} tasks")
    if strategy == "replay" and counts.min() < recipe.buffer:
        raise ValueError(f"buffer={recipe.buffer}: a class has {counts.min()} images; allowed: at most as many")
    outputs = classes_per_task if scenario == "domain" else len(classes)
    logits = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x)[0], jnp.asarray(train.images[:1]))
    if logits.shape[-1] != outputs:
        raise ValueError(f"net: {logits.shape[-1]} outputs; allowed: {outputs} in the scenario {scenario}")

    images, labels = jnp.asarray(train.images), jnp.asarray(train.labels)
    optimizer = optax.adam(recipe.learning_rate)

    def log_probabilities(params: Any, x: jax.Array, y: jax.Array, num_tasks: Any) -> jax.Array:
        mask = allowed_outputs(scenario, y, num_tasks, classes_per_task, outputs)
        return jax.nn.log_softmax(jnp.where(mask, net.apply({"params": params}, x), -jnp.inf))

    def target(y: jax.Array) -> jax.Array:
        return y % classes_per_task if scenario == "domain" else y

    def loss_on(params: Any, rows: jax.Array, num_tasks: Any) -> jax.Array:
        x, y = images[rows], labels[rows]
        picked = jnp.take_along_axis(log_probabilities(params, x, y, num_tasks), target(y)[:, None], 1)
        return -picked.mean()

    def learn(params, key, rows, count, stored, anchor, importance, num_tasks):
        """One task: rows[:count] of the data are learned from, stored [c' B] replayed, anchor is held."""

        def objective(params, current_rows, replay_rows):
            value = loss_on(params, current_rows, num_tasks)
            if replay_rows is not None:
                # Replay: every task so far has the same weight.
                value = value / num_tasks + (1 - 1 / num_tasks) * loss_on(params, replay_rows, num_tasks)
            if strategy == "ewc":
                # EWC: quadratic pull to the anchor, by Fisher information.
                pulls = jax.tree.map(lambda w, a, f: (f * jnp.square(w - a)).sum(), params, anchor, importance)
                value += recipe.strength / 2 * sum(jax.tree.leaves(pulls))
            return value

        def step(carry, k):
            params, state = carry
            new, old = jax.random.split(jax.random.fold_in(key, k))
            current_rows = rows[jax.random.randint(new, (recipe.batch_size,), 0, count)]
            before = None if stored is None else jax.random.choice(old, stored, (recipe.batch_size,))
            updates, state = optimizer.update(jax.grad(objective)(params, current_rows, before), state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(recipe.steps))
        return params

    def fisher(params, key, rows, num_tasks):
        """Squared gradients at rows of one task, [fisher_size] at most."""
        x, y = images[rows], labels[rows]
        first = y[:1]  # all are of one task, which is all that `allowed_outputs` reads of a label

        def of(params, one):
            return log_probabilities(params, one, jnp.broadcast_to(first, len(one)), num_tasks)

        targets = target(y) if recipe.fisher == "empirical" else None
        return fisher_diagonal(of, params, x, targets, jax.random.fold_in(key, recipe.steps))

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def measure(params, num_tasks):
        y = jnp.asarray(test.labels)
        predictions = log_probabilities(params, jnp.asarray(test.images), y, num_tasks).argmax(-1)
        task = (y // classes_per_task)[None] == jnp.arange(tasks)[:, None]
        return ((predictions == target(y)) * task).sum(1) / task.sum(1)

    seed_keys = jax.random.split(root_key(0), seeds)
    params = jax.vmap(lambda key: net.init(key, images[:1])["params"])(seed_keys)
    zeros = jax.tree.map(jnp.zeros_like, params)
    anchor, importance, anchor_sum = params, zeros, zeros
    axes = (0, 0, None, None, None, 0, 0, None)
    learn_all = jax.jit(jax.vmap(learn, in_axes=axes))
    fisher_all = jax.jit(jax.vmap(fisher, in_axes=(0, 0, None, None)))
    order = np.random.default_rng(0).permutation(len(train.labels))
    by_class = [order[train.labels[order] == c] for c in classes]
    fewest = min(int(n) for n in counts.reshape(tasks, -1).sum(1))
    accuracies = []
    for k in range(tasks):
        # Joint training has all tasks so far, the other strategies this one.
        task_rows = np.concatenate(by_class[k * classes_per_task : (k + 1) * classes_per_task])
        train_rows = np.concatenate(by_class[: (k + 1) * classes_per_task]) if strategy == "joint" else task_rows
        rows = np.zeros(len(order), np.int32)  # of one shape for all tasks, so that one program serves them
        rows[: len(train_rows)] = train_rows
        stored = None
        if strategy == "replay":
            # Replay buffer: a few examples of each class so far.
            buffer_rows = np.concatenate([of[: recipe.buffer] for of in by_class[: max(1, k * classes_per_task)]])
            stored = jnp.asarray(np.resize(buffer_rows, len(classes) * recipe.buffer))
        keys = jax.vmap(lambda key, k=k: jax.random.fold_in(key, k + 1))(seed_keys)
        params = learn_all(params, keys, jnp.asarray(rows), len(train_rows), stored, anchor, importance, k + 1)
        if strategy == "ewc" and k + 1 < tasks:
            # Fisher information of this task, and the anchor weighted by it.
            some = np.random.default_rng(k).permutation(task_rows)[: min(fewest, recipe.fisher_size)]
            fisher_values = fisher_all(params, keys, jnp.asarray(some), k + 1)
            importance = jax.tree.map(jnp.add, importance, fisher_values)
            anchor_sum = jax.tree.map(lambda p, f, w: p + f * w, anchor_sum, fisher_values, params)
            anchor = jax.tree.map(lambda p, f: p / jnp.maximum(f, 1e-30), anchor_sum, importance)
        accuracies.append(measure(params, k + 1))
    return np.stack(accuracies, 1)
