"""Does adaptation without labels help a network that is then fine-tuned on few labels of the target?

python -m experiments.studies.adapt_then_fine_tune                                                    (not run)
python -m experiments.studies.adapt_then_fine_tune --steps=300 --strengths=3,10    (both 78.9 %, fine-tuned 75.1 %)

Adapted alone reaches 59.7 %, source only 40.9 %, with 20 labels of the target and over three seeds. The source are
digits rendered from ten fonts, the target scikit-learn's handwritten digits. Four arms share one network and its
initial weights:

    source only   learns the source's labels
    adapted       the same steps, and features that become alike in source and target (MMD)
    fine-tuned    source only, then a few labels of the target
    both          adapted, then the same few labels

The weight of the adaptation and the learning rates of fine-tuning are those with the highest mean accuracy on 200
validation digits; the 500 test digits, by other writers, are read once for each arm. The claim holds where the mean
test accuracy of both is above that of each of the others.

References: Gretton et al. 2012; Long et al. 2015, arXiv:1502.02791.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.digits import digits
from dlcore.data.few_labels import few_labels
from dlcore.data.font_digits import font_digits
from dlcore.data.source import Source
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.report.figure import new_figure, seed_dots
from dlcore.transfer import domain_adaptation
from dlcore.transfer.domain_adaptation import AdaptationNet
from dlcore.transfer.gradient_reversal import reversal_strength
from experiments.studies.small_runs import minimize

ARMS = ("source only", "adapted", "fine-tuned", "both")
BATCH = 64
VALID = 200
SOURCE_SEED = 1000
"""The source's images are those of this seed in every repetition."""


class Data(NamedTuple):
    """Images [N, 8, 8, 1] in [-1, 1] and labels [N]; those of `target` are for drawing the few alone."""

    source: tuple[np.ndarray, np.ndarray]
    target: Source
    valid: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def scaled(source: Source) -> tuple[np.ndarray, np.ndarray]:
    return 2 * source.arrays["image"] - 1, source.arrays["label"]


def load(source_size: int) -> Data:
    train_digits = digits("train")
    rows = np.random.default_rng(0).permutation(len(train_digits))
    valid, target = (
        Source({name: array[part] for name, array in train_digits.arrays.items()}, class_names=train_digits.class_names)
        for part in (rows[:VALID], rows[VALID:])
    )
    return Data(scaled(font_digits(source_size, SOURCE_SEED)), target, scaled(valid), scaled(digits("test")))


def network() -> AdaptationNet:
    return AdaptationNet(10, channels=(16, 32), width=64)


@partial(jax.jit, static_argnames=("technique", "steps"))
def adapted(key: jax.Array, source: tuple, target: jax.Array, strength: float, *, technique: str, steps: int) -> Any:
    """Train a network with adaptation and its baseline without: parameters by "adapted" and "source_only"."""
    learner = domain_adaptation.learner(
        model=network(),
        optimizer=optax.adam(optax.cosine_decay_schedule(2e-3, steps)),
        ramp=lambda step: strength * reversal_strength(step / steps),
        technique=technique,
    )
    images, labels = source

    def batch(k):
        one, other = (jax.random.fold_in(jax.random.fold_in(key, k), i) for i in (1, 2))
        rows = jax.random.randint(one, (BATCH,), 0, len(images))
        target_images = target[jax.random.randint(other, (BATCH,), 0, len(target))]
        return {"image": images[rows], "label": labels[rows], "target": target_images, "index": jnp.arange(BATCH)}

    state = learner.init(key, batch(0))
    return jax.lax.fori_loop(0, steps, lambda k, state: learner.update(state, batch(k))[0], state).params


@partial(jax.jit, static_argnames="steps")
def fine_tuned(params: Any, images: jax.Array, labels: jax.Array, learning_rate: float, *, steps: int) -> Any:
    """Train all layers on all labeled images at each step."""

    def loss(params, _):
        return softmax_cross_entropy_loss(logits_of(params, images), labels).mean()

    return minimize(loss, params, optax.adam(learning_rate), jnp.arange(steps))[0]


@jax.jit
def logits_of(params: Any, images: jax.Array) -> jax.Array:
    return network().apply({"params": params}, images, 0.0)["logits"]


def accuracy(params: Any, images: np.ndarray, labels: np.ndarray) -> float:
    return float((np.asarray(logits_of(params, images)).argmax(-1) == labels).mean())


def trained(
    data: Data, seeds: Sequence[int], strengths: Sequence[float], rates: Sequence[float], *,
    labels_per_class: int, technique: str, steps: int, fine_tune_steps: int,
) -> dict[tuple, list[Any]]:  # fmt: skip
    """Train every arm at every setting: {(arm, strength or None, rate or None): parameters, one a seed}."""
    networks: dict[tuple, list[Any]] = {}
    target = scaled(data.target)[0]
    for seed in seeds:
        few = scaled(few_labels(data.target, labels_per_class, seed))
        for strength in strengths:
            twins = adapted(jax.random.key(seed), data.source, target, strength, technique=technique, steps=steps)
            starts = [("adapted", "both", strength, twins["adapted"])]
            if strength == strengths[0]:  # whose twin is the same at all
                starts.append(("source only", "fine-tuned", None, twins["source_only"]))
            for untuned_arm, tuned_arm, weight, params in starts:
                networks.setdefault((untuned_arm, weight, None), []).append(params)
                for rate in rates:
                    tuned = fine_tuned(params, *few, rate, steps=fine_tune_steps)
                    networks.setdefault((tuned_arm, weight, rate), []).append(tuned)
    return networks


def select_settings(scores: dict[tuple, list[float]]) -> dict[str, tuple]:
    """Choose the key of each arm, (arm, strength or None, rate or None), by its mean validation accuracy.

    The weight is that of the adapted network alone, so that `both` chooses a rate as `fine-tuned` does.
    """
    mean = {key: np.mean(values) for key, values in scores.items()}

    def best(arm: str, strength: Any = None) -> tuple:
        return max((key for key in mean if key[0] == arm and strength in (None, key[1])), key=mean.get)

    keys = {arm: best(arm) for arm in ("source only", "adapted", "fine-tuned")}
    return keys | {"both": best("both", keys["adapted"][1])}


def report(results: dict[str, np.ndarray], settings: dict[str, tuple], num_labels: int) -> StudyResult:
    """Judge {arm: test accuracies [seeds]}."""
    percent = {arm: 100 * np.asarray(results[arm]) for arm in ARMS}
    rivals = max(ARMS[:-1], key=lambda arm: percent[arm].mean())
    gains = percent["both"] - percent[rivals]
    holds = bool(gains.mean() > 0)
    means = ", ".join(f"{arm} {percent[arm].mean():.1f} %" for arm in ARMS)
    verdict = (
        f"With {num_labels} labels of the target, over {len(gains)} seeds: {means}. Both together are "
        f"{gains.mean():+.1f} points from the best of the others ({rivals}); the claim {'holds' if holds else 'FAILS'}."
    )
    numbers = {f"accuracy, {arm}": np.asarray(results[arm]).tolist() for arm in ARMS}
    numbers |= {f"chosen, {arm}": f"strength {key[1]}, learning rate {key[2]}" for arm, key in settings.items()}
    figure, axes = new_figure((5.6, 3.4))
    seed_dots(axes, percent)
    axes.set(ylabel="accuracy on handwritten test digits, %")
    headline = Headline(
        f"points gained over {rivals} at {num_labels} labels", gains, "digits from fonts to handwriting"
    )
    return StudyResult(numbers, verdict, {"accuracy": figure}, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    labels_per_class: PositiveInt = 2,
    technique: str = "mmd",
    source_size: PositiveInt = 2000,
    steps: PositiveInt = 500,
    fine_tune_steps: PositiveInt = 100,
    strengths: tuple[float, ...] = (1.0, 3.0, 10.0),
    learning_rates: tuple[NonNegativeFloat, ...] = (3e-4, 1e-3, 3e-3),
) -> StudyResult:
    """Compare adaptation, fine-tuning and both, from digits of fonts to handwritten ones.

    Args:
      labels_per_class: labeled digits of the target, of each class.
      technique: technique of the adaptation, dann, mmd or coral.
      source_size: rendered digits.
      steps: steps of training on the source, with and without adaptation.
      fine_tune_steps: steps of fine-tuning, each on all labeled digits.
      strengths: weights of the adaptation that validation chooses from.
      learning_rates: learning rates of fine-tuning that validation chooses from.
    """
    data = load(source_size)
    networks = trained(
        data, range(num_seeds), strengths, learning_rates,
        labels_per_class=labels_per_class, technique=technique, steps=steps, fine_tune_steps=fine_tune_steps,
    )  # fmt: skip
    scores = {key: [accuracy(params, *data.valid) for params in states] for key, states in networks.items()}
    settings = select_settings(scores)
    results = {arm: np.array([accuracy(p, *data.test) for p in networks[key]]) for arm, key in settings.items()}
    return report(results, settings, 10 * labels_per_class)


SMOKE = {
    "num_seeds": 1,
    "source_size": 100,
    "steps": 2,
    "fine_tune_steps": 2,
    "strengths": (1.0,),
    "learning_rates": (1e-3,),
}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
