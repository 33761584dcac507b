"""Use the last layer of a small convolutional network as features for nearest neighbors and a linear classifier.

python -m experiments.classical_vision.learned_features
    k-NN 96.4 % on pixels and 97.9 % on features, linear 92.2 % and 97.9 %, in 56 s

The network learns digits from the training writers, moved by up to a pixel, with a softmax over cosines (Zhai & Wu
2019). Its last layer before the head, 64 numbers, then takes the place of the pixels: for k nearest neighbors, and for
a linear classifier fitted anew. The test digits are by other writers.

Reference: Zhai & Wu 2019, arXiv:1811.12649.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.classic_ml.logistic_probe import probe_predict
from dlcore.evaluators.knn import knn_predict
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.nn import Conv
from dlcore.report.figure import BLUE, GRAY, new_figure, seed_dots
from experiments.studies.small_runs import Digits, shuffled_digits, train


class SmallConvNet(nn.Module):
    """Three convolutions and a layer of `width` units: `method="features"` gives those, [B, width].

    cosine: logits are 16 cos(features, class), so that features of a class share a direction.
    """

    num_classes: int = 10
    width: int = 64
    stride: int = 1
    cosine: bool = True

    def setup(self):
        self.convs = [Conv(c, (3, 3), strides=(s, s)) for c, s in ((32, self.stride), (64, 2), (64, 2))]
        self.dense = nn.Dense(self.width)
        self.head = self.param("head", nn.initializers.lecun_normal(), (self.width, self.num_classes))

    def features(self, x: jax.Array) -> jax.Array:
        for conv in self.convs:
            x = nn.relu(conv(x))
        return self.dense(x.reshape(len(x), -1))

    def __call__(self, x: jax.Array, train: bool, rate: float = 0.0) -> jax.Array:
        features, head = self.features(x), self.head
        if not self.cosine:
            return nn.relu(features) @ head
        unit = features / (jnp.linalg.norm(features, axis=1, keepdims=True) + 1e-6)
        return 16 * unit @ (head / jnp.linalg.norm(head, axis=0))


def shift(pixels: int):
    """An augmentation: the image moved by up to that many pixels each way."""

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
        corner = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
        return jax.lax.dynamic_slice(padded, (*corner, 0), image.shape)

    return augment


def train_features(data: Digits, net: SmallConvNet, steps: int, seed: int, batch_size: int = 64, augment=None):
    """A function from images [N, H, W, C] to the features [N, width] of the net, trained on the training split."""
    schedule = optax.cosine_decay_schedule(2e-3, steps)

    @jax.jit
    def run(key, images, labels):
        variables, _ = train(
            key,
            net,
            optax.adamw(schedule, weight_decay=1e-3),
            images,
            labels,
            steps,
            batch_size=batch_size,
            augment=augment,
        )
        return jax.tree.map(lambda leaf: leaf[-1], variables)

    variables = run(jax.random.key(seed), jnp.asarray(data.images, jnp.float32), jnp.asarray(data.labels))
    apply = jax.jit(lambda images: net.apply(variables, images, method="features"))

    def features(images: np.ndarray) -> np.ndarray:
        pieces = np.array_split(np.asarray(images, np.float32), max(1, len(images) // 1000))
        return np.concatenate([np.asarray(apply(piece)) for piece in pieces])

    return features


def study(*, steps: PositiveInt = 600, num_seeds: PositiveInt = 3, k: PositiveInt = 5) -> StudyResult:
    """Compare learned features with pixels under k-NN and a linear classifier.

    Args:
      k: number of neighbors that vote.
    """
    accuracies: dict[str, list[float]] = {}
    for seed in range(num_seeds):
        data = shuffled_digits(seed)
        learned = train_features(data, SmallConvNet(), steps, seed, augment=shift(1))
        for name, of in (("pixels", lambda x: x.reshape(len(x), -1)), ("learned", learned)):
            gallery, queries = of(data.images), of(data.test_images)
            for how, predicted in (
                ("k-NN", knn_predict(gallery, data.labels, queries, k)),
                ("linear", probe_predict(gallery, data.labels, queries)),
            ):
                accuracy = float((predicted == data.test_labels).mean())
                accuracies.setdefault(f"{how} on {name}", []).append(accuracy)
    means = {name: float(np.mean(values)) for name, values in accuracies.items()}
    holds = all(means[f"{how} on learned"] > means[f"{how} on pixels"] for how in ("k-NN", "linear"))
    verdict = (
        f"k-NN: {means['k-NN on pixels']:.1%} on pixels, {means['k-NN on learned']:.1%} on learned features; a linear "
        f"classifier: {means['linear on pixels']:.1%} and {means['linear on learned']:.1%} (means of "
        f"{num_seeds} seeds). Learned features {'win both times' if holds else 'do NOT win both times'}."
    )
    figure, axes = new_figure((6, 2.6), grid="x")
    colors = [BLUE if name.endswith("learned") else GRAY for name in accuracies]
    seed_dots(axes, accuracies, colors, scale=100, horizontal=True)
    axes.set(xlabel="test accuracy, % (bar: mean)")
    headline = Headline("k-NN accuracy on learned features", accuracies["k-NN on learned"], "digits")
    return StudyResult(dict(accuracies), verdict, {"learned_features": figure}, holds, headline)


experiment = Study(__file__, __doc__, study, smoke={"steps": 20, "num_seeds": 1})

if __name__ == "__main__":
    main(experiment)
