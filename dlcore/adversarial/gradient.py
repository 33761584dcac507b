"""Attacks by the gradient: FGSM and PGD on one image, in an L-infinity or L2 ball, untargeted or targeted.

Goodfellow, Shlens & Szegedy 2014, arXiv:1412.6572 (FGSM); Madry et al. 2017, arXiv:1706.06083 (PGD); Carlini & Wagner
2016, arXiv:1608.04644 (margin); Croce & Hein 2020, arXiv:2003.01690 (DLR).

    FGSM         x' = clip(x + epsilon sign(grad l(x)), 0, 1)
    PGD, Linf    x_{k+1} = clip(clip(x_k + alpha sign(grad l(x_k)), x - epsilon, x + epsilon), 0, 1)
    PGD, L2      x_{k+1} = clip(x + P(x_k + alpha g / |g| - x), 0, 1),   P scales to norm epsilon where it is larger
    losses       cross-entropy -log p_y;  margin max_{j != y} z_j - z_y;  DLR the margin / (z_1st - z_3rd)
    targeted     cross-entropy and margin of the target t are lowered instead;
                 DLR becomes (z_t - z_y) / (z_1st - (z_3rd + z_4th) / 2), which is raised

The gradient of -log p_y is 1 - p_y times that of the log-odds log((1 - p_y) / p_y) and dies out where the network is
sure; its sign and direction do not, so the attacks follow the log-odds.

The ball is that of the original image, and images stay in [0, 1]: `score_fn` takes such an image and normalizes it
itself. Every function attacks one image; map it over a batch by `jax.vmap`. The gradient is taken by the image alone.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.choices import check_choice, check_whole_number
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.ops import l2_normalize
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = [
    "attack_loss",
    "check_attack",
    "check_images",
    "fgsm",
    "fool_from_noise",
    "pgd",
    "project",
    "projected_ascent",
]

ScoreFn = Callable[[jax.Array], jax.Array]
Norm = Literal["linf", "l2"]
Loss = Literal["cross_entropy", "margin", "dlr"]


def check_images(images: jax.Array | np.ndarray, floats: bool = False) -> None:
    """Check on the host that images lie in [0, 1]; values of traced arrays pass.

    Args:
      images: [..., H, W, C].
      floats: refuse integers, to which no small change can be added, and empty arrays.
    """
    dtype = getattr(images, "dtype", None)
    if floats and (dtype is None or not jnp.issubdtype(dtype, jnp.floating) or np.size(images) == 0):
        text = type(images).__name__ if dtype is None else f"{dtype}{list(images.shape)}"
        raise ValueError(f"images={text}: no array of floats; allowed: floats in [0, 1]")
    if isinstance(images, jax.core.Tracer) or np.size(images) == 0:
        return
    low, high = float(np.asarray(images).min()), float(np.asarray(images).max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"images: from {low:g} to {high:g}; allowed: numbers in [0, 1]")


def check_attack(
    epsilon: float | jax.Array, step_size: float | jax.Array | None = None, steps: int = 1, restarts: int = 1
) -> None:
    """Check the settings of an attack; traced numbers pass.

    Args:
      epsilon: radius of the ball.
      step_size: size of one step.
      steps: number of steps of the attack.
      restarts: random starts.
    """
    check_shapes(epsilon=(epsilon, ""), step_size=(step_size, "or None"))
    check_shapes(steps=(steps, "int >= 1"), restarts=(restarts, "int >= 1"))
    step = 1 if step_size is None else step_size
    for name, value in (("epsilon", epsilon), ("step_size", step), ("steps", steps), ("restarts", restarts)):
        check_finite(name, value)
    if not isinstance(epsilon, jax.core.Tracer) and not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon={epsilon}: out of range; allowed: [0, 1], in units of images in [0, 1]")
    if step_size is not None and not isinstance(step_size, jax.core.Tracer) and not step_size > 0:
        raise ValueError(f"step_size={step_size}: out of range; allowed: above 0")


def attack_loss(
    scores: jax.Array, label: jax.Array, loss: Loss = "cross_entropy", target: jax.Array | None = None
) -> jax.Array:
    """Loss that an attack raises.

    Args:
      scores: [K]; "dlr" takes at least 3 classes, 4 with a target.
      label: [] int, the true class.
      loss: "cross_entropy", "margin" or "dlr".
      target: [] int, the class to be taken for; None for any wrong one.

    Returns:
      []. Without a target the margin and DLR are positive where the network errs. With one, the cross-entropy and the
      margin of the target with their signs changed (the label has no part in them), and the targeted DLR. Where the
      denominator of DLR is 0, it is taken as 1.
    """
    check_choice("loss", loss, Loss)
    scores = to_acc_dtype(scores)
    check_shapes(scores=(scores, "K"), label=(label, "int"), target=(target, "int or None"))
    check_class_ids("label", label, len(scores))
    least = 3 if target is None else 4
    if loss == "dlr" and len(scores) < least:
        raise ValueError(f"loss='dlr': {len(scores)} classes; allowed: at least {least}, or loss='margin'")
    if target is not None:
        check_class_ids("target", target, len(scores))
        if loss != "dlr":
            return -attack_loss(scores, target, loss)
        if not isinstance(target, jax.core.Tracer) and not isinstance(label, jax.core.Tracer) and target == label:
            raise ValueError(f"target={int(target)}: the true class; allowed: another class for loss='dlr'")
        first, _, third, fourth = jnp.sort(scores)[:-5:-1]
        spread = (first - third + (first - fourth)) / 2
        return (scores[target] - scores[label]) / jnp.where(spread > 0, spread, 1)
    if loss == "cross_entropy":
        return softmax_cross_entropy_loss(scores, label)
    # Margin of the strongest other class.
    other_scores = jnp.where(jnp.arange(len(scores)) == label, -jnp.inf, scores)
    margin = other_scores.max() - scores[label]
    if loss == "margin":
        return margin
    ordered = jnp.sort(scores)
    spread = ordered[-1] - ordered[-3]
    # A quotient of differences: scaling or shifting all scores changes nothing.
    return margin / jnp.where(spread > 0, spread, 1)


def _ascended(scores: jax.Array, label: jax.Array, loss: Loss, target: jax.Array | None) -> jax.Array:
    """Return `attack_loss`, or a number with a gradient of the same direction that does not die out."""
    value = attack_loss(scores, label, loss, target)
    if loss != "cross_entropy":
        return value
    scores, sign, y = to_acc_dtype(scores), *((1, label) if target is None else (-1, target))
    return sign * (jax.nn.logsumexp(jnp.where(jnp.arange(len(scores)) == y, -jnp.inf, scores)) - scores[y])


def project(delta: jax.Array, epsilon: float, norm: Norm = "linf") -> jax.Array:
    """Project a change into a ball.

    Args:
      delta: [...].
      epsilon: radius.
      norm: "linf" or "l2".

    Returns:
      The nearest point of the ball.
    """
    check_choice("norm", norm, Norm)
    check_shapes(epsilon=(epsilon, ">= 0"))
    if norm == "linf":
        return jnp.clip(delta, -epsilon, epsilon)
    unit = l2_normalize(to_acc_dtype(delta), None, 0)
    # Its part along its own direction is its length.
    return jnp.where((delta * unit).sum() > epsilon, epsilon * unit, delta).astype(result_dtype(delta))


def projected_ascent(
    objective: ScoreFn,
    image: jax.Array,
    start: jax.Array,
    epsilon: float,
    step_size: float | jax.Array,
    steps: int,
    norm: Norm = "linf",
) -> jax.Array:
    """Raise a function of an image by projected gradient ascent.

    Args:
      objective: image [H, W, C] in [0, 1] -> [], the number to be raised; it is differentiated by the image alone.
      image: [H, W, C] in [0, 1], the center of the ball.
      start: [H, W, C], where to start; it is projected first.
      epsilon: radius of the ball.
      step_size: alpha.
      steps: number of steps of the gradient.
      norm: "linf" or "l2".

    Returns:
      [H, W, C] in [0, 1], at most epsilon away from the image in the norm.
    """
    check_choice("norm", norm, Norm)
    check_shapes(image=(image, "..."), start=(start, "..."))
    check_shapes(epsilon=(epsilon, ">= 0"), step_size=(step_size, "> 0"), steps=(steps, "int >= 1"))
    slope, dtype = jax.grad(objective), result_dtype(image)
    image, start = to_acc_dtype(image), to_acc_dtype(start)

    def inside(x):
        # Project into the epsilon ball, then clip to [0, 1].
        return jnp.clip(image + project(x - image, epsilon, norm), 0, 1)

    def step(_, x):
        g = slope(x)
        # Direction of steepest ascent: the sign in Linf, the normalized gradient in L2.
        move = jnp.sign(g) if norm == "linf" else l2_normalize(g, None, 0)
        return inside(x + step_size * move)

    return _rounded(lax.fori_loop(0, steps, step, inside(start)), image, dtype)


def _rounded(x: jax.Array, image: jax.Array, dtype: Any) -> jax.Array:
    """Cast a changed image; where that would change it more, take the next number toward the original."""
    rounded, original = x.astype(dtype), image.astype(dtype)
    too_far = jnp.abs(rounded.astype(x.dtype) - image) > jnp.abs(x - image)
    return jnp.where(too_far, jnp.nextafter(rounded, original), rounded)


def fgsm(
    score_fn: ScoreFn,
    key: jax.Array,
    image: jax.Array,
    label: jax.Array,
    epsilon: float = 0.3,
    target: jax.Array | None = None,
    loss: Loss = "cross_entropy",
) -> jax.Array:
    """Attack by one step of the gradient's sign.

    Args:
      score_fn: image [H, W, C] in [0, 1] -> scores [K].
      key: unused; attacks have one signature.
      image: [H, W, C] in [0, 1].
      label: [] int, the true class.
      epsilon: size of the step.
      target: [] int, the class to be taken for; None for any wrong one.
      loss: loss of the attack, see `attack_loss`.

    Returns:
      [H, W, C] in [0, 1], at most epsilon away in each pixel.
    """
    check_attack(epsilon)
    check_images(image, floats=True)
    # Gradient of the loss by the pixels, and one step along its sign.
    x = to_acc_dtype(image)
    slope = jax.grad(lambda x: _ascended(score_fn(x), label, loss, target))(x)
    return _rounded(jnp.clip(x + epsilon * jnp.sign(slope), 0, 1), x, image.dtype)


def pgd(
    score_fn: ScoreFn,
    key: jax.Array,
    image: jax.Array,
    label: jax.Array,
    epsilon: float = 0.3,
    step_size: float | jax.Array = 0.01,
    steps: int = 40,
    norm: Norm = "linf",
    target: jax.Array | None = None,
    loss: Loss = "cross_entropy",
    random_start: bool = True,
    restarts: int = 1,
) -> jax.Array:
    """Attack by projected gradient ascent, and keep the restart of the greatest margin.

    Args:
      score_fn: image [H, W, C] in [0, 1] -> scores [K].
      key: PRNG key of the starts.
      image: [H, W, C] in [0, 1].
      label: [] int, the true class.
      epsilon: radius of the ball.
      step_size: alpha.
      steps: number of steps of the gradient.
      norm: "linf" or "l2".
      target: [] int, the class to be taken for; None for any wrong one.
      loss: loss of the attack, see `attack_loss`.
      random_start: start at a random point of the ball; required for more than one restart to differ.
      restarts: number of starts.

    Returns:
      [H, W, C] in [0, 1], at most epsilon away in the norm.
    """
    check_choice("norm", norm, Norm)
    check_finite("step_size", step_size)
    check_attack(epsilon, step_size, steps, restarts)
    check_images(image, floats=True)
    image, dtype = to_acc_dtype(image), image.dtype

    def run(key):
        start = image
        # Start at a random point of the epsilon ball.
        if random_start:
            start = image + epsilon * _point_of_unit_ball(key, image, norm)

        def objective(x):
            return _ascended(score_fn(x), label, loss, target)

        # Projected gradient ascent on the loss.
        adversarial = projected_ascent(objective, image, start, epsilon, step_size, steps, norm)
        return adversarial, attack_loss(score_fn(adversarial), label, "margin", target)

    # Keep the restart of the greatest margin.
    adversarial, margins = lax.map(run, jax.random.split(key, restarts))  # [restarts, H, W, C], [restarts]
    return _rounded(adversarial[margins.argmax()], image, dtype)


def fool_from_noise(
    score_fn: ScoreFn,
    key: jax.Array,
    shape: tuple[int, ...],
    target: jax.Array,
    step_size: float = 0.02,
    steps: int = 100,
) -> jax.Array:
    """Draw an image of noise and change it until the network is sure of a class (Nguyen et al. 2015, arXiv:1412.1897).

    Args:
      score_fn: image [H, W, C] in [0, 1] -> scores [K].
      key: PRNG key of the noise.
      shape: (H, W, C).
      target: [] int, the class.
      step_size: factor of the sign of the gradient.
      steps: number of steps of the gradient.

    Returns:
      [H, W, C] in [0, 1].
    """
    if np.ndim(shape) != 1:
        raise ValueError(f"shape={shape!r}: no shape; allowed: (H, W, C)")
    for i, side in enumerate(shape):
        check_whole_number(f"shape[{i}]", side, 1)
    noise = jax.random.uniform(key, shape)
    return pgd(score_fn, key, noise, target, 1.0, step_size, steps, target=target, random_start=False)


def _point_of_unit_ball(key: jax.Array, like: jax.Array, norm: Norm) -> jax.Array:
    """Return a point drawn evenly from the ball; in n dimensions its L2 norm is distributed as u^(1/n)."""
    if norm == "linf":
        return jax.random.uniform(key, like.shape, like.dtype, -1, 1)
    first, second = jax.random.split(key)
    direction = jax.random.normal(first, like.shape, like.dtype)
    radius = jax.random.uniform(second, (), like.dtype) ** (1 / like.size)
    return radius * l2_normalize(direction, None, 0)
