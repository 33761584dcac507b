"""Does an encoder that learned to reproduce images without labels help a classifier that has few labels?

python -m experiments.studies.encoder_initialization                       (85.7 %, from scratch 83.5 %)

A denoising autoencoder learns all training digits without their labels. Then a classifier, the encoder and a new layer
for the logits, learns 100 labeled digits, ten of each class: once from the encoder's weights, once from scratch. All
else is the same: examples, steps, learning rate, and the seed of the new layer. The claim holds where the mean test
accuracy over the seeds is the higher from the encoder's weights. The encoder has four layers, as depth is what makes
few labels hard.

References: Hinton & Salakhutdinov 2006; Erhan et al. 2010 ("Why does unsupervised pre-training help deep learning?").
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.generative import autoencoder
from dlcore.generative.autoencoder import Autoencoder
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.report.figure import new_figure, seed_dots
from experiments.studies.small_runs import minimize, shuffled_digits

ARMS = ("scratch", "encoder")


def pretrained(model, images, key, steps: int, learning_rate: float):
    """Parameters (before, after) an autoencoder's training."""
    learner = autoencoder.learner(model=model, optimizer=optax.adam(learning_rate), kind="denoising", noise=0.3)
    batch = {"image": images[:64], "index": jnp.arange(64)}
    start = learner.init(key, batch)

    def step(state, k):
        rows = jax.random.choice(jax.random.fold_in(key, k), len(images), (64,), replace=False)
        return learner.update(state, {"image": images[rows], "index": jnp.arange(64)})[0], None

    state, _ = jax.lax.scan(step, start, jnp.arange(steps))
    return start.params, state.params


def classifier(model, params, head, images):
    """Logits."""
    return jax.nn.relu(model.apply({"params": params}, images, method="encode")) @ head["kernel"] + head["bias"]


def fine_tuned(model, params, key, images, labels, steps: int, learning_rate: float):
    """Train encoder and head on all labeled images at each step."""
    features = model.latent_dim
    head = {"kernel": jax.random.normal(key, (features, 10)) / np.sqrt(features), "bias": jnp.zeros(10)}

    def loss(variables, _):
        return softmax_cross_entropy_loss(classifier(model, *variables, images), labels).mean()

    return minimize(loss, (params, head), optax.adam(learning_rate), jnp.arange(steps))[0]


def few_labels(labels: np.ndarray, num_labels: int, seed: int) -> np.ndarray:
    """Choose as many rows of each class."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == k))[: num_labels // 10] for k in range(10)])


def accuracies(
    *, num_seeds: int, num_labels: int, pretrain_steps: int, steps: int, learning_rate: float
) -> dict[str, np.ndarray]:
    """Measure {arm: test accuracies [seeds]}."""
    data = shuffled_digits()
    model = Autoencoder((8, 8, 1), hidden=(256, 256, 128), latent_dim=32)
    images, test = jnp.asarray(data.images), jnp.asarray(data.test_images)
    rows = jnp.stack([few_labels(data.labels, num_labels, seed) for seed in range(num_seeds)])

    @jax.jit
    @jax.vmap
    def run(key, rows):
        before, after = pretrained(model, images, jax.random.fold_in(key, 0), pretrain_steps, 1e-3)
        head, few = jax.random.fold_in(key, 1), (images[rows], jnp.asarray(data.labels)[rows])
        trained = [fine_tuned(model, params, head, *few, steps, learning_rate) for params in (before, after)]
        predictions = [classifier(model, *variables, test).argmax(-1) for variables in trained]
        return jnp.stack([(predicted == data.test_labels).mean() for predicted in predictions])

    values = np.asarray(run(jax.random.split(jax.random.key(0), num_seeds), rows))
    return dict(zip(ARMS, values.T, strict=True))


def report(results: dict[str, np.ndarray], num_labels: int) -> StudyResult:
    """Judge {arm: accuracies [seeds]}."""
    scratch, encoder = (100 * results[arm] for arm in ARMS)
    gain = float((encoder - scratch).mean())
    holds = gain > 0
    verdict = (
        f"With {num_labels} labels: {scratch.mean():.1f}% from scratch, {encoder.mean():.1f}% from the encoder of an "
        f"autoencoder ({gain:+.1f} points), over {len(scratch)} seeds. It {'helps' if holds else 'does NOT help'}."
    )
    numbers = {f"accuracy, {arm}": results[arm].tolist() for arm in ARMS} | {"gain, points": gain}
    figure, axes = new_figure((4.5, 3.4))
    seed_dots(axes, {"scratch": scratch, "encoder": encoder}, pairs=True)
    axes.set(ylabel=f"test accuracy with {num_labels} labels, %")
    headline = Headline(f"accuracy gained at {num_labels} labels", results["encoder"] - results["scratch"], "digits")
    return StudyResult(numbers, verdict, {"accuracy": figure}, bool(holds), headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    num_labels: PositiveInt = 100,
    pretrain_steps: PositiveInt = 1500,
    steps: PositiveInt = 100,
    learning_rate: NonNegativeFloat = 1e-3,
) -> StudyResult:
    """Compare a classifier of few labels from an autoencoder's encoder with one from scratch.

    Args:
      num_labels: labeled images, a tenth of each class.
      pretrain_steps: steps of the autoencoder, on 64 images each.
      steps: steps of the classifier, on all labeled images each.
      learning_rate: learning rate of the classifier.
    """
    results = accuracies(
        num_seeds=num_seeds,
        num_labels=num_labels,
        pretrain_steps=pretrain_steps,
        steps=steps,
        learning_rate=learning_rate,
    )
    return report(results, num_labels)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "pretrain_steps": 2, "steps": 2})

if __name__ == "__main__":
    main(experiment)
