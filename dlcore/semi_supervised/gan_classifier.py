"""A GAN whose discriminator is the classifier: unlabeled images are of one of the K classes, generated ones of none.

Salimans, Goodfellow, Zaremba, Cheung, Radford & Chen 2016, arXiv:1606.03498; the complement is Dai, Yang, Yang,
Cohen & Salakhutdinov 2017, arXiv:1705.09783.

    Z(x) = sum_k exp s_k(x),   D(x) = Z / (Z + 1)        K + 1 classes with the score of "made" fixed at 0
    classifier   CE(s(x), y) of labeled images - log D(x) of unlabeled ones - log(1 - D(G(z)))
    generator    |mean f(x) - mean f(G(z))|^2            feature matching; f are the features below the head

A generator of perfect images would teach the classifier nothing: it needs images *between* the classes, so that its
boundaries come to lie there. With `complement` the generator is paid for such images,

    + pull-away term     mean over i != j of cos^2(f(G(z_i)), f(G(z_j)))              images as unlike as can be
    + low density        mean of max(0, log p(f(G(z))) - t)                           no image where many real ones are
    and the classifier   + H(softmax s(x)) of unlabeled images                        sure of a class

p is a kernel density of the real images' features in the batch, where the paper has a PixelCNN++ trained on images, and
t the log-density below which the fewest real ones lie. The classifier sees labeled, unlabeled and made images in one
batch: where batch norm normalizes made images by themselves, their mean features are those of real ones from the start,
and nothing is left to match. Dropout in the classifier stands in for the normal noise in its layers of Salimans et al.
With `ema_decay` d the average of the classifier's weights is what is measured, as in their program, e <- d e + (1 - d)
w. `low_density` measures whether made images lie where real ones are rare.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.classic_ml.density import kernel_log_density
from dlcore.classic_ml.outlier import auroc
from dlcore.classic_ml.points import squared_distances
from dlcore.classification.supervised import learner as supervised_learner
from dlcore.data.augment import Augmentation, Preprocess
from dlcore.generative.pixels import denormalize
from dlcore.generative.two_players import Players, PlayerState
from dlcore.learner import Evaluator, Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import entropy_loss, masked_mean, softmax_cross_entropy_loss
from dlcore.ops import l2_normalize
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import pmean, replica_key
from dlcore.optim.ema import init_average
from dlcore.semi_supervised.two_streams import augment_stream, averaging, streams

__all__ = [
    "Complement",
    "GanClassifierState",
    "area_of_low_density",
    "density_excess",
    "fake_losses",
    "feature_distance",
    "learner",
    "low_density",
    "pull_away",
    "real_losses",
]


class Complement(NamedTuple):
    """A generator of images where real ones are rare.

    Args:
      complement: pay the generator for images where real ones are rare.
      pull_away_weight: complement: of the pull-away term.
      density_weight: complement: of the excess of density.
      density_quantile: complement: share of the real images that counts as rare.
      entropy_weight: complement: of the classifier's entropy on unlabeled images.
    """

    complement: bool = False
    pull_away_weight: Annotated[float, Range(0)] = 1.0
    density_weight: Annotated[float, Range(0)] = 1.0
    density_quantile: Annotated[float, Range(0, 1)] = 0.1
    entropy_weight: Annotated[float, Range(0)] = 0.1


@struct.dataclass
class GanClassifierState(PlayerState):
    """Both players, and the classifier that is measured.

    Args:
      teacher: {"params", "model_state"}, the average of the classifier's.
    """

    teacher: Any


def real_losses(logits: jax.Array) -> jax.Array:
    """Compute -log D(x) of images that are of some class.

    Args:
      logits: [..., K], scores of the classes; that of "made" is 0.

    Returns:
      [...], log(1 + Z) - log Z.
    """
    return jax.nn.softplus(-jax.nn.logsumexp(to_acc_dtype(logits), axis=-1))


def fake_losses(logits: jax.Array) -> jax.Array:
    """Compute -log(1 - D(x)) of generated images.

    Args:
      logits: [..., K].

    Returns:
      [...], log(1 + Z).
    """
    return jax.nn.softplus(jax.nn.logsumexp(to_acc_dtype(logits), axis=-1))


def feature_distance(real: jax.Array, made: jax.Array, mask: jax.Array) -> jax.Array:
    """Compare the mean features of real and generated images.

    Args:
      real: [B, D].
      made: [B, D].
      mask: [B], of both.

    Returns:
      [], the mean over features of the squared difference.
    """
    check_shapes(real=(real, "B D"), made=(made, "B D"), mask=(mask, "mask B"))
    means = (jax.vmap(masked_mean, in_axes=(1, None))(x, mask) for x in (real, made))
    return jnp.square(next(means) - next(means)).mean()


def pull_away(features: jax.Array, mask: jax.Array) -> jax.Array:
    """Measure how alike images are: the pull-away term.

    Args:
      features: [B, D].
      mask: [B].

    Returns:
      [], in [0, 1]: 0 where all are orthogonal, 1 where all are parallel.
    """
    check_shapes(features=(features, "B D"), mask=(mask, "mask B"))
    unit = l2_normalize(to_acc_dtype(features))  # [B, D]
    pairs = mask[:, None] * mask[None] * (1 - jnp.eye(len(mask)))  # [B, B]
    return (jnp.square(unit @ unit.T) * pairs).sum() / jnp.maximum(pairs.sum(), 1)


def density_excess(real: jax.Array, made: jax.Array, mask: jax.Array, quantile: float) -> jax.Array:
    """Measure by how much generated images are too likely under the real ones of the batch.

    Args:
      real: [B, D], features that take no gradient.
      made: [B, D].
      mask: [B], of both.
      quantile: t is the log-density that this share of the real images is below.

    Returns:
      [B], max(0, log p - t) up to a constant of p; the kernel is as wide as real images are apart from their nearest.
    """
    check_shapes(real=(real, "B D"), made=(made, "B D"), mask=(mask, "mask B"), quantile=(quantile, "0 to 1"))
    real = jax.lax.stop_gradient(real)
    # Kernel density of the real features; its width is twice the mean squared distance to the nearest one.
    pairwise = jnp.where((mask[None] > 0) & ~jnp.eye(len(mask), dtype=bool), squared_distances(real, real), jnp.inf)
    nearest = jnp.where((mask > 0) & jnp.isfinite(pairwise.min(1)), pairwise.min(1), 0)  # [B]
    width = 2 * jnp.maximum(masked_mean(nearest, mask), jnp.finfo(nearest.dtype).tiny)
    count = jnp.maximum(mask.sum(), 2)
    log_density = jax.nn.logsumexp(-pairwise / width, axis=1) - jnp.log(count - 1)  # [B]
    # Density below which `quantile` of the real images lie.
    threshold = jnp.nanquantile(jnp.where(mask > 0, log_density, jnp.nan), quantile)
    fake_to_real = jnp.where(mask[None] > 0, squared_distances(made, real), jnp.inf)  # [B, B]
    return jax.nn.relu(jax.nn.logsumexp(-fake_to_real / width, axis=1) - jnp.log(count) - threshold)


class _Batch(NamedTuple):
    """Augmented images of both streams, and what is known of them."""

    labeled: jax.Array
    label: jax.Array
    label_mask: jax.Array
    unlabeled: jax.Array
    mask: jax.Array


def _latents(latent_dim: int, rng: jax.Array, batch: dict) -> jax.Array:
    return jax.vmap(lambda key: jax.random.normal(key, (latent_dim,)))(example_keys(rng, batch))


def _generate(
    players: Players,
    latent_dim: int,
    preprocess: Preprocess,
    augment: Augmentation | None,
    params: dict,
    model_state: dict,
    rng: jax.Array,
    batch: dict,
    view: jax.Array | None = None,
    train: bool = True,
) -> tuple[jax.Array, Any, jax.Array]:
    """(images as the classifier takes them, the generator's statistics, images in [0, 1])."""
    x, statistics = players.apply("generator", params, model_state, _latents(latent_dim, rng, batch), train=train)
    x = denormalize(x)  # [B, H, W, C]
    images = preprocess(x)
    if view is not None:
        images = augment_stream(augment, view, {**batch, "image": images})
    return images, statistics, x


def _weights(state: PlayerState) -> dict[str, Any]:
    """Of the classifier."""
    return {"params": state.params["discriminator"], "model_state": state.model_state["discriminator"]}


def _features(
    players: Players, params: dict, model_state: dict, images: jax.Array, dropout: jax.Array | None = None
) -> jax.Array:
    """Mean of the classifier's last map, [B, D]."""
    train = dropout is not None
    maps, _ = players.apply("discriminator", params, model_state, images, train=train, rng=dropout, method="features")
    last = list(maps.values())[-1]
    return last.astype(jnp.float32).mean(tuple(range(1, last.ndim - 1)))


def _read(
    preprocess: Preprocess, augment: Augmentation | None, batch: dict, keys: list[jax.Array]
) -> tuple[_Batch, dict]:
    """(the batch, its unlabeled stream)."""
    labeled, unlabeled, _ = streams(batch)
    parts = ({**part, "image": preprocess(part["image"])} for part in (labeled, unlabeled))
    first, second = (augment_stream(augment, key, part) for key, part in zip(keys[:2], parts, strict=True))
    return _Batch(first, labeled["label"], mask_of(labeled), second, mask_of(unlabeled)), unlabeled


def _discriminator_objective(
    players: Players,
    complement: Complement,
    unlabeled_weight: float | jax.Array,
    state: GanClassifierState,
    batch: _Batch,
    fake: jax.Array,
    dropout: jax.Array,
    params: dict,
) -> tuple[jax.Array, tuple]:
    """Loss of the classifier; extras are its metrics."""
    # One forward pass, so that batch norm sees real and fake images together.
    images = jnp.concatenate([batch.labeled, batch.unlabeled, fake])
    logits, statistics = players.apply("discriminator", params, state.model_state, images, rng=dropout)
    boundaries = [len(batch.labeled), len(batch.labeled) + len(batch.unlabeled)]
    logits, real_logits, fake_logits = jnp.split(logits, boundaries)  # [B, K], [U, K], [U, K]
    # Cross-entropy of labeled images; unlabeled ones are real, generated ones fake.
    losses = softmax_cross_entropy_loss(logits, batch.label)  # [B]
    unlabeled_losses = real_losses(real_logits) + fake_losses(fake_logits)  # [U]
    # Complement generator: diverse images where real ones are rare.
    if complement.complement:
        unlabeled_losses += complement.entropy_weight * entropy_loss(real_logits)
    supervised, unsupervised = masked_mean(losses, batch.label_mask), masked_mean(unlabeled_losses, batch.mask)
    # d_real and d_fake are D(x) of unlabeled and of fake images.
    metrics = {
        "loss": Sum.of(losses, batch.label_mask),
        "accuracy": Sum.of(logits.argmax(-1) == batch.label, batch.label_mask),
        "unlabeled_loss": Sum.of(unlabeled_losses, batch.mask),
        "d_real": Sum.of(jnp.exp(-real_losses(real_logits)), batch.mask),
        "d_fake": Sum.of(1 - jnp.exp(-fake_losses(fake_logits)), batch.mask),
    }
    return supervised + unlabeled_weight * unsupervised, (statistics, metrics)


def _generator_objective(
    players: Players,
    complement: Complement,
    generate: Callable,
    state: GanClassifierState,
    batch: _Batch,
    dropout: jax.Array,
    params: dict,
) -> tuple[jax.Array, tuple]:
    """Loss of the generator; extras are its terms."""
    fake, statistics, _ = generate(params, state.model_state)  # [U, H, W, C]
    # Feature matching between unlabeled and fake images.
    images = jnp.concatenate([batch.unlabeled, fake])
    real_features, fake_features = jnp.split(_features(players, params, state.model_state, images, dropout), 2)
    matching_loss = feature_distance(real_features, fake_features, batch.mask)
    value, extras = matching_loss, {"feature_distance": matching_loss}
    if complement.complement:
        extras["pull_away"] = pull_away(fake_features, batch.mask)
        excess = density_excess(real_features, fake_features, batch.mask, complement.density_quantile)  # [U]
        extras["density_excess"] = masked_mean(excess, batch.mask)
        weights = complement.pull_away_weight, complement.density_weight
        value += weights[0] * extras["pull_away"] + weights[1] * extras["density_excess"]
    return value, (statistics, extras)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    generator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    preprocess: Preprocess = lambda image: image,
    augment: Augmentation | None = None,
    latent_dim: Annotated[int, Range(1)] = 100,
    unlabeled_weight: Annotated[float, Range(0)] = 1.0,
    complement_generator: Complement = Complement(),
    ema_decay: Annotated[float, Range(0, 0.999999)] = 0.0,
) -> Learner:
    """Train a classifier of `{"labeled": {"image", "label", "index"}, "unlabeled": {"image", "index"}}` by a GAN.

    Args:
      model: the classifier, `__call__(x, train) -> logits [B, K]` and `features(x, train) -> {stage: [B, ..., D]}`.
      optimizer: optimizer of the classifier.
      generator: `__call__(z [B, latent_dim], train) -> images in (-1, 1)`.
      generator_optimizer: any optax transformation.
      preprocess: batch of images in [0, 1] to the classifier's input.
      augment: `(key, preprocessed image) -> image`, of labeled, unlabeled and made images.
      latent_dim: dimensions of the generator's normal noise.
      unlabeled_weight: weight of the loss that tells unlabeled from generated images.
      complement_generator: additional terms of the generator's loss, and their weights.
      ema_decay: EMA decay rate of the classifier's weights, which are evaluated; 0 measures the classifier itself.

    Returns:
      The learner. `evaluate` and `predict` take flat batches and give what those of
      `dlcore.classification.supervised` give; `predict` adds `features` [B, D] of the images, a made `sample` in [0, 1]
      for each index, and its `sample_features`. Training logs D of unlabeled (`d_real`) and made (`d_fake`) images.
    """
    networks = {"discriminator": model, "generator": generator}
    players = Players(networks, {"discriminator": optimizer, "generator": generator_optimizer})
    evaluator = supervised_learner(model=model, optimizer=optimizer, preprocess=preprocess)
    average = averaging(ema_decay)
    generate = partial(_generate, players, latent_dim, preprocess, augment)
    d_objective = partial(_discriminator_objective, players, complement_generator, unlabeled_weight)

    def init(rng: jax.Array, batch: dict) -> GanClassifierState:
        labeled, _, _ = streams(batch)
        inputs = {"discriminator": (preprocess(labeled["image"]),), "generator": (_latents(latent_dim, rng, labeled),)}
        players_state = PlayerState(**players.init(rng, inputs))
        return GanClassifierState(**vars(players_state), teacher=init_average(_weights(players_state)))

    def update(state: GanClassifierState, batch: dict) -> tuple[GanClassifierState, Metrics]:
        keys = [jax.random.fold_in(jax.random.fold_in(state.rng, state.step), k) for k in range(8)]
        dropout = [replica_key(key) for key in keys[6:]]
        # Augmented labeled and unlabeled images of one batch.
        images, unlabeled = _read(preprocess, augment, batch, keys)
        # Fake images for the discriminator, no gradient to the generator.
        fake, _, _ = generate(state.params, state.model_state, keys[2], unlabeled, keys[3])
        # Discriminator step.
        state, metrics = players.turn("discriminator", state, partial(d_objective, state, images, fake, dropout[0]))
        # Generator step on new latents, against the updated discriminator.
        again = partial(generate, rng=keys[4], batch=unlabeled, view=keys[5])
        objective = partial(_generator_objective, players, complement_generator, again, state, images, dropout[1])
        state, extras = players.turn("generator", state, objective)
        count = images.mask.sum().astype(jnp.int32)
        metrics |= {name: Sum(value * count, count) for name, value in extras.items()}
        state = state.replace(step=state.step + 1, model_state=pmean(state.model_state))
        # EMA of the classifier, which is evaluated.
        return state.replace(teacher=average.follow(state.teacher, _weights(state), state.step)), metrics

    def eval_state(state: GanClassifierState) -> ModelState:
        opt_state = state.opt_state["discriminator"]
        return ModelState(step=state.step, rng=state.rng, opt_state=opt_state, **state.teacher)

    def predict(state: GanClassifierState, batch: dict) -> dict[str, jax.Array]:
        flat, _, _ = streams(batch)
        fake, _, sample = generate(state.params, state.model_state, state.rng, flat, train=False)
        features = partial(
            _features, players, *({"discriminator": state.teacher[name]} for name in ("params", "model_state"))
        )
        outputs = {"features": features(preprocess(flat["image"])), "sample": sample, "sample_features": features(fake)}
        return evaluator.predict(eval_state(state), flat) | outputs

    return Learner(
        init=init,
        update=update,
        evaluate=lambda state, batch: evaluator.evaluate(eval_state(state), streams(batch)[0]),
        predict=predict,
        classes=lambda state, batch: evaluator.classes(eval_state(state), streams(batch)[0]),
    )


def area_of_low_density(features: np.ndarray, made: np.ndarray) -> float:
    """Measure how often a generated image lies where real ones are rarer than at a real one.

    Args:
      features: [N, D] of real images, N of at least 4: every second one is a kernel, twice as wide as the others,
        which are compared, are from the nearest.
      made: [M, D] of made ones.

    Returns:
      The area under the ROC curve of the kernel density: 1 where all made images are the less likely, 0.5 where they
      have the density of real ones, less where they crowd where real ones are frequent.
    """
    check_shapes(features=(features, "N D"), rows=(len(features), ">= 4"))
    check_shapes(made=(made, f"M {features.shape[1]}"), rows=(len(made), ">= 1"))
    check_finite("features", features)
    check_finite("made", made)
    kernels, queries = features[::2], features[1::2]
    mean_distance = np.sqrt(np.asarray(squared_distances(jnp.asarray(queries), jnp.asarray(kernels))).min(1)).mean()
    width = max(2 * float(mean_distance), 1e-6)
    return auroc(*(np.asarray(kernel_log_density(x, kernels, width)) for x in (queries, made)))


def low_density() -> Evaluator:
    """Measure `area_of_low_density` in the features of the classifier.

    Returns:
      The evaluator of `low_density`, from `features` and `sample_features`.
    """

    def add(acc: Any, outputs: Any, rows: Any) -> Any:
        return [*(acc or []), (outputs["features"], outputs["sample_features"])]

    def finish(acc: Any) -> dict[str, float]:
        return {"low_density": area_of_low_density(*(np.concatenate(part) for part in zip(*acc, strict=True)))}

    return Evaluator(add=add, finish=finish, names=("low_density",))
