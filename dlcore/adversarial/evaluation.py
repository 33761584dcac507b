"""Robustness of a classifier: the worst of a stated list of attacks over several radii, and signs of masked gradients.

Carlini et al. 2019, "On evaluating adversarial robustness", arXiv:1902.06705; Athalye, Carlini & Wagner 2018,
"Obfuscated gradients", arXiv:1802.00420; Tramer et al. 2018, arXiv:1705.07204 (one step from a random point).

An image withstands a radius where every attack of the list fails. All balls are L-infinity, in units of pixels in
[0, 1]. PGD takes steps of 2.5 epsilon / steps.

A network whose gradients lead nowhere looks robust to attacks that follow them, and is not. The signs: one step does
better than many, queries do better than gradients, a random start helps one step, more steps or a larger ball do
worse, and the ball of all images leaves some right.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.adversarial.gradient import ScoreFn, check_attack, check_images, fgsm, pgd
from dlcore.adversarial.queries import nes, random_signs
from dlcore.choices import check_choice, check_whole_number
from dlcore.learner import root_key
from dlcore.metrics.classification import class_predictions
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes, check_values

__all__ = ["ATTACKS", "BLACK_BOX", "AttackSettings", "Attacked", "MaskingCheck", "attack_images", "masking_checks"]


class AttackSettings(NamedTuple):
    """Settings that the attacks share.

    Args:
      steps: gradient steps of PGD.
      restarts: random starts of PGD, of which the greatest margin counts.
      max_queries: largest number of NES queries per image.
    """

    steps: int = 40
    restarts: int = 1
    max_queries: int = 1000


class Attacked(NamedTuple):
    """Adversarial images and predictions at one radius, of N images; with a target, of those of other classes.

    Args:
      classes: [N] int, what the network takes the changed images for; -1 where a score is NaN.
      succeeded: [N] bool, wrong classes; with a target, the target.
      max_change: largest change of a pixel.
      images: [M, H, W, C] in [0, 1], the first changed images.
    """

    classes: np.ndarray
    succeeded: np.ndarray
    max_change: float
    images: np.ndarray


Attack = Callable[[ScoreFn, jax.Array, jax.Array, jax.Array, Any, Any, AttackSettings], jax.Array]
"""(score_fn, key, image, label, target or None, epsilon, settings) -> image."""


def _pgd(loss: Any = "cross_entropy", one_step: bool = False) -> Attack:
    def attack(score_fn, key, image, label, target, epsilon, settings):
        steps = 1 if one_step else settings.steps
        # All steps together are longer than the ball is wide; the floor is for epsilon = 0.
        size = jnp.maximum(1.25 * epsilon if one_step else 2.5 * epsilon / steps, 1e-9)
        restarts = 1 if one_step else settings.restarts
        return pgd(score_fn, key, image, label, epsilon, size, steps, "linf", target, loss, True, restarts)

    return attack


def _nes(score_fn, key, image, label, target, epsilon, settings):
    size = jnp.maximum(epsilon / 8, 1e-9)
    return nes(score_fn, key, image, label, epsilon, size, settings.max_queries).image


ATTACKS: dict[str, Attack] = {
    "fgsm": lambda score_fn, key, image, label, target, epsilon, _: fgsm(score_fn, key, image, label, epsilon, target),
    "random_start_fgsm": _pgd(one_step=True),
    "pgd": _pgd(),
    "pgd_margin": _pgd("margin"),
    "pgd_dlr": _pgd("dlr"),
    "nes": _nes,
    "random_signs": lambda score_fn, key, image, label, target, epsilon, _: (
        random_signs(score_fn, key, image, label, epsilon).image
    ),
}
"""Attacks by name."""
BLACK_BOX = ("nes", "random_signs", "transfer")
"""Attacks that take no gradient of the network; those of ATTACKS among them know no target."""


def attack_images(
    forward: Callable[[Any, jax.Array], jax.Array],
    variables: Any,
    images: np.ndarray,
    labels: np.ndarray,
    epsilons: Sequence[float],
    attack: str = "pgd",
    *,
    target: int | None = None,
    settings: AttackSettings | None = None,
    source: tuple[Callable[[Any, jax.Array], jax.Array], Any] | None = None,
    num_images: int = 8,
    seed: int = 0,
    batch_size: int = 32,
) -> list[Attacked]:
    """Attack images at several radii, by one compiled program.

    Args:
      forward: (variables, images [B, H, W, C] in [0, 1]) -> logits [B, K].
      variables: variables of the network.
      images: [N, H, W, C] float in [0, 1].
      labels: [N] int, the true classes.
      epsilons: radii in [0, 1].
      attack: name from ATTACKS.
      target: class to be taken for, whose own images are left out; None for any wrong one.
      settings: settings of the attacks; None for the defaults.
      source: (forward, variables) of the network that is attacked in place of this one (transfer); None for this one.
      num_images: changed images that are kept.
      seed: random seed of random starts and queries.
      batch_size: images that are attacked at once.

    Returns:
      One result for each radius.

    Raises:
      ValueError: the attack is unknown or knows no target, there is no image or not one label for each, a radius or an
        image is outside [0, 1], a label or the target is no class, all images are of the target, or another number is
        out of range.
      AssertionError: an attack left its ball or [0, 1].
    """
    settings = settings or AttackSettings()
    check_choice("attack", attack, ATTACKS)
    if target is not None and attack in BLACK_BOX:
        allowed = ", ".join(name for name in ATTACKS if name not in BLACK_BOX)
        raise ValueError(f"attack={attack!r}: takes no target; allowed: {allowed}")
    if not isinstance(settings, AttackSettings):
        raise ValueError(f"settings={settings!r}: no settings; allowed: AttackSettings")
    if source is not None and (not isinstance(source, tuple) or len(source) != 2):
        raise ValueError("source: no network; allowed: (forward, variables), or None")
    if np.ndim(epsilons) != 1 or not len(epsilons):
        raise ValueError(f"epsilons={epsilons!r}: no radii; allowed: at least one")
    for epsilon in epsilons:
        check_attack(epsilon, None, settings.steps, settings.restarts)
    for name, value, least in (
        ("settings.max_queries", settings.max_queries, 1),
        ("num_images", num_images, 0),
        ("batch_size", batch_size, 1),
    ):
        check_whole_number(name, value, least)
    check_shapes(images=(images, "N H W C"), labels=(labels, "int N"))
    if not len(images):
        raise ValueError("images=[]: empty; allowed: at least one image")
    images = np.asarray(images)
    check_images(images)
    num_classes = jax.eval_shape(forward, variables, images[:1]).shape[-1]
    check_class_ids("labels", np.asarray(labels), num_classes)
    if target is not None:
        check_class_ids("target", target, num_classes)
    labels = np.asarray(labels)
    # An image of the target would succeed without a change.
    rows = np.arange(len(labels)) if target is None else np.flatnonzero(labels != target)
    if not rows.size:
        raise ValueError(f"target={target}: the class of all images; allowed: another class")
    labels = labels[rows]
    x, y = jnp.asarray(images[rows], jnp.float32), jnp.asarray(labels, jnp.int32)
    source_forward, source_variables = source or (forward, variables)

    @jax.jit
    def run(variables, source_variables, epsilon):
        def score_fn(image):
            return source_forward(source_variables, image[None])[0]

        def each(arguments):
            index, image, label = arguments
            # One key an image: results do not depend on the batch size.
            key = jax.random.fold_in(root_key(seed), index)
            # The attack follows the source network; the prediction is that of the other.
            adversarial = ATTACKS[attack](score_fn, key, image, label, target, epsilon, settings)
            return adversarial, class_predictions(forward(variables, adversarial[None])[0])

        return jax.lax.map(each, (rows, x, y), batch_size=min(batch_size, len(x)))

    results = []
    for epsilon in epsilons:
        # Epsilon is an argument of the program: all radii share one compilation.
        adversarial, classes = map(np.asarray, run(variables, source_variables, jnp.float32(epsilon)))
        # An image outside of the ball would not count as an attack at this radius.
        change = float(np.abs(adversarial - np.asarray(x)).max())
        if not (change <= epsilon + 1e-6 and adversarial.min() >= 0 and adversarial.max() <= 1):
            raise AssertionError(f"{attack}: left its ball or [0, 1]: changed by {change:g}, allowed {epsilon:g}")
        succeeded = classes != labels if target is None else classes == target
        results.append(Attacked(classes, succeeded, change, adversarial[:num_images]))
    return results


class MaskingCheck(NamedTuple):
    """One sign of masked gradients.

    Args:
      name: name of the compared quantity.
      measured: fraction of images.
      allowed: the largest fraction that says nothing.
    """

    name: str
    measured: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether there is no sign."""
        return self.measured <= self.allowed


def masking_checks(
    succeeded: Mapping[str, np.ndarray],
    few_steps: np.ndarray | None = None,
    unbounded: np.ndarray | None = None,
    tolerance: float = 0.03,
) -> list[MaskingCheck]:
    """Look for signs of masked gradients in what attacks reached (Athalye et al. 2018, section 3.1).

    Args:
      succeeded: attack -> [E, N] bool, by radius in rising order and image; those of `ATTACKS`, and "transfer". Checks
        whose attacks are missing are left out.
      few_steps: [E, N] bool, of PGD with a quarter of the steps; None leaves this check out.
      unbounded: [N] bool, of PGD at radius 1; None leaves this check out.
      tolerance: fraction of images by which chance may make an attack better than another.

    Returns:
      The checks; of each the largest fraction over the radii.
    """
    if not isinstance(succeeded, Mapping):
        raise ValueError(f"succeeded={type(succeeded).__name__}: no dict; allowed: attack -> [E, N]")
    check_finite("tolerance", tolerance)
    for name in succeeded:
        check_choice("succeeded", name, (*ATTACKS, "transfer"))
    tables = {f"succeeded[{name!r}]": (rows, "E N") for name, rows in succeeded.items()}
    tables |= {"few_steps": (few_steps, "E N or None"), "unbounded": (unbounded, "N or None")}
    check_shapes(**tables, tolerance=(tolerance, "0 to 1"))
    for name, (rows, _) in tables.items():
        if rows is None:
            continue
        check_values(name, rows, (0, 1))
        if np.size(rows) == 0:
            raise ValueError(f"{name}: empty; allowed: at least one radius and one image")
    rates = {name: np.mean(rows, -1) for name, rows in succeeded.items()}  # [E] each
    gradients = [rows for name, rows in succeeded.items() if name not in BLACK_BOX]
    queries = [rows for name, rows in succeeded.items() if name in BLACK_BOX]
    checks = []

    def add(name: str, measured: Any, allowed: float = tolerance) -> None:
        checks.append(MaskingCheck(name, max(0.0, float(np.max(measured))), allowed))

    if {"fgsm", "pgd"} <= rates.keys():
        add("one step succeeds more often than PGD", rates["fgsm"] - rates["pgd"])
    if gradients and queries:
        only = np.logical_or.reduce(queries) & ~np.logical_or.reduce(gradients)  # [E, N]
        add("only attacks without gradients succeed", only.mean(-1))
    if {"fgsm", "random_start_fgsm"} <= rates.keys():
        add("a random start helps one step", rates["random_start_fgsm"] - rates["fgsm"], 0.1 + tolerance)
    if "pgd" in rates and len(rates["pgd"]) > 1:
        add("PGD succeeds less often in a larger ball", -np.diff(rates["pgd"]))
    if "pgd" in rates and few_steps is not None:
        add("PGD succeeds less often with more steps", np.mean(few_steps, -1) - rates["pgd"])
    if unbounded is not None:
        add("PGD fails in the ball of all images", 1 - np.mean(unbounded))
    return checks
