"""DeepCluster: cluster the features, learn the clusters as classes, and again.

Caron, Bojanowski, Joulin & Douze 2018, arXiv:1807.05520.

    x_n = f(image n), reduced to principal components of variance 1, scaled to length 1
    y_n = k-means(x)_n                          an empty cluster takes half of the largest one
    L   = mean_n w_n (-log softmax(W f(view of n))[y_n]),  w_n = N / (K |cluster of n|)     W is drawn anew each time

Clusters are numbered anew by each clustering, so the head starts anew too. The clusters are part of the state, and each
clustering depends on the state and the step alone: a run that was killed goes on as if it had not been.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.choices import check_whole_number
from dlcore.classic_ml.kmeans import kmeans
from dlcore.data.augment import Augmentation, Preprocess
from dlcore.data.source import Source
from dlcore.learner import Labels, Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics.clustering import normalized_mutual_information
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_finite, check_indices, check_shapes
from dlcore.optim import apply_gradients
from dlcore.self_supervised.networks import init_variables

__all__ = ["DeepClusterState", "Reclustering", "cluster", "learner", "reset_head", "split_largest", "whiten"]

_CHUNK = 512


@struct.dataclass
class DeepClusterState(ModelState):
    """The network and the clusters.

    Args:
      clusters: [N] int32, the cluster of each training example by its index.
    """

    clusters: jax.Array


def whiten(features: np.ndarray, dims: int) -> np.ndarray:
    """Reduce features to principal components of variance 1, and scale each to length 1.

    Args:
      features: [N, D].
      dims: components, at most; those without variance are left out.

    Returns:
      [N, at most dims] float32; one column of zeros where all features are the same.
    """
    check_shapes(features=(features, "N D"), examples=(len(features), ">= 1"), dims=(dims, "int >= 1"))
    check_finite("features", features)
    x = np.asarray(features, np.float64)
    x = x - x.mean(0)
    # PCA whitening, then length 1.
    variance, axes = np.linalg.eigh(x.T @ x / len(x))
    order = np.argsort(-variance)[:dims]
    order = order[variance[order] > 1e-8 * max(variance[-1], 1e-12)]
    if not len(order):
        return np.zeros((len(x), 1), np.float32)
    x = x @ axes[:, order] / np.sqrt(variance[order])
    return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def split_largest(x: np.ndarray, clusters: np.ndarray, num_clusters: int) -> np.ndarray:
    """Give each empty cluster half of the largest one: the half that lies further along its widest direction.

    Args:
      x: [N, D].
      clusters: [N] int.
      num_clusters: K, at most N.

    Returns:
      [N] int, in which every cluster has a member.
    """
    check_shapes(x=(x, "N D"), clusters=(clusters, "N"), num_clusters=(num_clusters, f"int 1 to {max(len(x), 1)}"))
    check_finite("x", x)
    check_indices("clusters", clusters, num_clusters, "clusters")
    clusters = np.array(clusters)
    for empty in np.setdiff1d(np.arange(num_clusters), clusters):
        # An empty cluster takes half of the largest, along its first principal axis.
        members = np.flatnonzero(clusters == np.bincount(clusters, minlength=num_clusters).argmax())
        centered = x[members] - x[members].mean(0)
        widest = np.linalg.svd(centered, full_matrices=False)[2][0]
        clusters[members[np.argsort(centered @ widest, kind="stable")[len(members) // 2 :]]] = empty
    return clusters


def cluster(key: jax.Array, features: np.ndarray, num_clusters: int, dims: int = 256) -> np.ndarray:
    """Cluster features by k-means; no cluster is empty.

    Args:
      key: PRNG key of the start.
      features: [N, D].
      num_clusters: K.
      dims: principal components, at most.

    Returns:
      [N] int32.
    """
    check_shapes(features=(features, "N D"))
    check_whole_number("num_clusters", num_clusters, 1)
    check_shapes(dims=(dims, "int >= 1"))
    if len(features) < num_clusters:
        raise ValueError(f"num_clusters={num_clusters}: more than examples; allowed: at most {len(features)}")
    x = whiten(features, dims)
    assignments = np.asarray(kmeans(key, x, num_clusters, restarts=1, max_iterations=50).labels)
    return split_largest(x, assignments, num_clusters).astype(np.int32)


def reset_head(state: DeepClusterState, key: jax.Array) -> DeepClusterState:
    """Draw the head anew, and forget what the optimizer knows of it; its count of steps stays.

    Args:
      state: state whose `params` have a dense "head".
      key: PRNG key of the draw.

    Returns:
      The state with another head.
    """
    kernel = state.params["head"]["kernel"]
    head = {
        "kernel": nn.initializers.lecun_normal()(key, kernel.shape, kernel.dtype),
        "bias": jnp.zeros_like(state.params["head"]["bias"]),
    }

    def forgotten(path: Any, leaf: jax.Array) -> jax.Array:
        return jnp.zeros_like(leaf) if any(getattr(part, "key", None) == "head" for part in path) else leaf

    # The optimizer forgets the old head, too.
    opt_state = jax.tree_util.tree_map_with_path(forgotten, state.opt_state)
    return state.replace(params={**state.params, "head": head}, opt_state=opt_state)


class Reclustering:
    """A hook that clusters the training examples anew at each validation but the last.

    Args:
      learner: the learner of this module.
      source: the training examples, in the order of their indices.
      num_clusters: K.
      steps: length of the run.
      dims: principal components, at most.
      labels: [N] int, the true classes, to measure the agreement with; the learner does not get them.
    """

    def __init__(
        self,
        learner: Learner,
        source: Source,
        num_clusters: int,
        steps: int,
        dims: int = 256,
        labels: np.ndarray | None = None,
    ):
        self.source, self.num_clusters, self.steps, self.dims, self.labels = source, num_clusters, steps, dims, labels
        self.memory: dict[str, list] = {"step": [], "nmi": [], "kept": [], "smallest": []}
        self._features = jax.jit(lambda state, batch: learner.predict(state, batch)["features"])

    def begin(self, state: DeepClusterState) -> DeepClusterState:
        """Cluster the features of the untrained network.

        Args:
          state: before the first step.

        Returns:
          The state with clusters and a new head.
        """
        return self._clustered(state, 0)

    def __call__(self, step: int, state: DeepClusterState, metrics: dict[str, float]) -> DeepClusterState | None:
        """Cluster anew where validation has just been measured.

        Args:
          step: steps done.
          state: the learner's state.
          metrics: "split/name" -> number, of this step.

        Returns:
          The state with other clusters and a new head; None where nothing is due.
        """
        if not self.memory["step"]:
            self._remember(0, np.asarray(state.clusters), None)
        if step >= self.steps or not any(name.startswith("valid/") for name in metrics):
            return None
        before, state = np.asarray(state.clusters), self._clustered(state, step)
        self._remember(step, np.asarray(state.clusters), before)
        return state

    def _clustered(self, state: DeepClusterState, step: int) -> DeepClusterState:
        if len(self.source) != len(state.clusters):
            raise ValueError(
                f"source: {len(self.source)} examples; allowed: the {len(state.clusters)} that the run is trained on"
            )
        parts, chunk = [], min(_CHUNK, len(self.source))
        for start in range(0, len(self.source), chunk):
            rows = self.source[np.minimum(np.arange(start, start + chunk), len(self.source) - 1)]
            parts.append(np.asarray(self._features(state, rows)))
        # Features of all training images, without the padding of the last chunk.
        features = np.concatenate(parts)[: len(self.source)]
        key = jax.random.fold_in(jax.random.fold_in(state.rng, 2**31 - 3), step)
        assignments = cluster(key, features, self.num_clusters, self.dims)
        return reset_head(state, jax.random.fold_in(key, 1)).replace(clusters=jnp.asarray(assignments))

    def _remember(self, step: int, clusters: np.ndarray, before: np.ndarray | None) -> None:
        targets, counts = self.labels, np.bincount(clusters, minlength=self.num_clusters)
        nmi = None if targets is None else normalized_mutual_information(targets, clusters)
        nmi_previous = None if before is None else normalized_mutual_information(before, clusters)
        for name, value in (("step", step), ("nmi", nmi), ("kept", nmi_previous), ("smallest", int(counts.min()))):
            self.memory[name].append(value)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    train_size: int,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    num_clusters: Annotated[int, Range(2)] = 10000,
) -> Learner:
    """Train a network to tell the clusters of `{"image": [B, H, W, C], "index": [B]}`; `Reclustering` makes them.

    Args:
      model: model with `num_clusters` classes and with a linear head, see `PieceClassifier`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, the view.
      train_size: N, training examples.
      prepare: batch of images to floats in [0, 1].
      normalize: views or images to the model's input.
      num_clusters: K, at most N; ten times the classes that one hopes to find did best in the paper.

    Returns:
      The learner. Clusters are those of training examples, so that `evaluate` has no loss: it gives `confidence`, the
      mean probability of the likeliest cluster. `predict` returns `features` and `untrained` [B, D], and `guess`, [B]
      int32, the likeliest cluster.
    """
    if train_size < num_clusters:
        raise ValueError(f"num_clusters={num_clusters}: more than examples; allowed: at most {train_size}")

    def views(rng: jax.Array, batch: dict) -> jax.Array:
        return normalize(jax.vmap(augment)(example_keys(rng, batch), prepare(batch["image"])))[:, None]

    def objective(params, model_state, images, state, batch, dropout=None):
        (logits, _), model_state = apply_model(
            model, params, model_state, images, train=dropout is not None, rng=dropout
        )
        mask = mask_of(batch)
        # Cluster assignments are the labels; weights make clusters equally heavy.
        label = state.clusters[batch["index"]]  # [B]
        sizes = jnp.bincount(state.clusters, length=num_clusters)  # [K]
        weight = train_size / (num_clusters * jnp.maximum(sizes[label], 1))  # [B]
        losses = softmax_cross_entropy_loss(logits, label)  # [B]
        metrics = {"loss": Sum.of(weight * losses, mask), "accuracy": Sum.of(logits.argmax(-1) == label, mask)}
        return masked_mean(weight * losses, mask), (model_state, metrics)

    def init(rng: jax.Array, batch: dict) -> DeepClusterState:
        model_state = init_variables(model, rng, views(rng, batch))
        params = model_state.pop("params")
        clusters = jnp.arange(train_size, dtype=jnp.int32) % num_clusters
        return DeepClusterState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), model_state, clusters)

    def loss(params: Any, state: DeepClusterState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics) = objective(params, state.model_state, views(state.rng, batch), state, batch)
        return value, metrics

    def update(state: DeepClusterState, batch: dict) -> tuple[DeepClusterState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # A view of each image; assignments are renewed between epochs, not here.
        images, dropout = views(jax.random.fold_in(rng, 0), batch), jax.random.fold_in(rng, 1)
        # Gradient of the weighted cross-entropy with the cluster assignments.
        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(
            state.params, state.model_state, images, state, batch, dropout
        )
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def predict(state: DeepClusterState, batch: dict) -> dict[str, jax.Array]:
        images = normalize(prepare(batch["image"]))
        before = init_variables(model, state.rng, images[:1, None])
        logits, features = model.apply({"params": state.params, **state.model_state}, images[:, None], train=False)
        return {
            "features": features[:, 0],
            "untrained": model.apply(before, images, method="features"),
            "guess": logits.argmax(-1).astype(jnp.int32),
            "confidence": jax.nn.softmax(logits).max(-1),
        }

    def evaluate(state: DeepClusterState, batch: dict) -> Metrics:
        return {"confidence": Sum.of(predict(state, batch)["confidence"], mask_of(batch))}

    def classes(state: DeepClusterState, batch: dict) -> dict[str, Labels]:
        return {"index": Labels(train_size, reason=f"train_size={train_size}")}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
