"""How many examples does a vision transformer need where a convolutional network of its size needs few?

python -m experiments.studies.cnn_vs_vit
python -m experiments.studies.cnn_vs_vit --dataset=fashion_mnist --data_dir=... --patch_size=4 --train_sizes=100,10000

A convolution assumes that neighboring pixels belong together and that a pattern means the same everywhere; a
transformer has to learn both (Dosovitskiy et al. 2020). A ResNet of eight layers and a ViT of four blocks, whose width
is chosen so that both have the same number of parameters, learn from more and more digits: nested subsets, no
augmentation, the same number of steps of AdamW. The learning rate of each is the best of a few on held-out digits, at
the largest subset; the test digits, of other writers, are used once. The claim holds where the ViT is worse at the
smallest size on every seed and the gap is smaller at the largest.

Reference: Dosovitskiy et al. 2020, arXiv:2010.11929.

Measured over three seeds (3.5 minutes of one core): with 75,002 and 72,628 parameters the ResNet has 72.1 % from 50
digits, 92.5 % from 200 and 97.0 % from 1,000, the ViT 58.3, 75.9 and 89.5 %. The gap closes from 13.8 points (19.5 at
100) to 7.5; the ResNet needs about 135 digits for what the ViT reaches with 1,000.
"""

import bisect
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data import image_classification
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model
from dlcore.report.figure import BLUE, VERMILION, mean_and_range, new_figure
from experiments.studies.small_runs import Digits, ZooNet, log_loss_and_accuracy, train

NAMES = {"cnn": "ResNet-8", "vit": "ViT"}
COLORS = {"cnn": BLUE, "vit": VERMILION}


def data_of(dataset: str, data_dir: str | None, most: int, held_out: int) -> tuple[Digits, int]:
    """Load (training examples in a fixed order, with the held-out ones before the test split's; number of classes)."""
    splits = image_classification.load(dataset, data_dir)
    images, labels = (np.concatenate([splits.train.arrays[k], splits.valid.arrays[k]]) for k in ("image", "label"))
    if most + held_out > len(labels):
        limit = len(labels) - held_out
        raise ValueError(f"train_sizes={most}: too many with held_out={held_out}; allowed: at most {limit}")
    order = np.random.default_rng(0).permutation(len(labels))[: most + held_out]
    images, labels = _unit(images[order]), labels[order]
    test = splits.test.arrays
    scored = np.concatenate([images[:held_out], _unit(test["image"])]), np.append(labels[:held_out], test["label"])
    return Digits(images[held_out:], labels[held_out:], *scored), len(splits.class_names)


def _unit(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)


def parameters(model: nn.Module, image: np.ndarray) -> int:
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(image[None])))["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def equal_models(
    image: np.ndarray, num_classes: int, cnn_width: int, patch_size: int, depth: int
) -> dict[str, nn.Module]:
    """Make a ResNet-8 and the ViT (two heads, even widths) whose number of parameters is nearest to its."""
    cnn = create_model("resnet8_cifar", num_classes=num_classes, width=cnn_width)
    fields = {"image_size": max(image.shape[:2]), "patch_size": patch_size, "depth": depth, "num_heads": 2}

    def vit(width: int) -> nn.Module:
        return create_model("vit_tiny_cifar", num_classes=num_classes, width=width, mlp_features=4 * width, **fields)

    num_parameters, widths = parameters(cnn, image), range(4, 6 * cnn_width, 2)
    i = bisect.bisect_left(widths, num_parameters, key=lambda width: parameters(vit(width), image))
    near = [vit(width) for width in widths[max(i - 1, 0) : i + 1]]
    return {"cnn": cnn, "vit": min(near, key=lambda model: abs(parameters(model, image) - num_parameters))}


@functools.partial(jax.jit, static_argnames=("model", "steps", "batch_size", "held_out"))
def run(
    model: nn.Module, data: Digits, key, count, learning_rate, steps: int, batch_size: int, held_out: int
) -> jax.Array:
    """Train on `count` examples: log loss and accuracy on the held-out and on the test examples [2, 2]."""
    net, (images, labels, scored, targets) = ZooNet(model), map(jnp.asarray, data)
    order = jax.random.permutation(jax.random.fold_in(key, 7), len(labels))
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, steps // 10, steps)
    optimizer = optax.adamw(lambda step: learning_rate * schedule(step), weight_decay=0.05)
    variables, _ = train(key, net, optimizer, images[order], labels[order], steps, batch_size=batch_size, count=count)
    variables = jax.tree.map(lambda v: v[0], variables)
    logits = jax.lax.map(lambda x: net.apply(variables, x[None], False)[0], scored, batch_size=500)
    log_p = jax.nn.log_softmax(logits)
    return jnp.stack(
        [log_loss_and_accuracy(log_p[part], targets[part]) for part in (slice(held_out), slice(held_out, None))]
    )


def as_many(cnn: np.ndarray, vit: np.ndarray, train_sizes: np.ndarray) -> float:
    """Interpolate over log n the number of examples with which the CNN's mean accuracy [sizes] is the ViT's best."""
    return float(np.exp(np.interp(vit[-1], np.maximum.accumulate(cnn), np.log(train_sizes))))


def judge(accuracy: dict[str, np.ndarray], train_sizes: np.ndarray, counts: dict[str, int]) -> tuple[str, bool]:
    """Judge test accuracies [seeds, sizes]: the CNN ahead at the smallest size on every seed, and less so later."""
    cnn, vit = accuracy["cnn"], accuracy["vit"]
    gap = cnn - vit
    worse, closing = bool((gap[:, 0] > 0).all()), bool(gap[:, -1].mean() < gap[:, 0].mean())
    number = as_many(cnn.mean(0), vit.mean(0), train_sizes)
    verdict = (
        f"With {counts['cnn']:,} and {counts['vit']:,} parameters: from {train_sizes[0]} examples the ResNet has "
        f"{cnn[:, 0].mean():.1%} and the ViT {vit[:, 0].mean():.1%} ({'worse' if worse else 'NOT worse'} on every "
        f"seed); from {train_sizes[-1]}, {cnn[:, -1].mean():.1%} and {vit[:, -1].mean():.1%}. The gap goes from "
        f"{100 * gap[:, 0].mean():.1f} to {100 * gap[:, -1].mean():.1f} points: it is "
        f"{'closing' if closing else 'NOT closing'}. What the ViT reaches with {train_sizes[-1]} examples the ResNet "
        f"has with about {number:.0f}."
    )
    return verdict, worse and closing


def study(
    *,
    num_seeds: PositiveInt = 3,
    train_sizes: tuple[PositiveInt, ...] = (50, 100, 200, 400, 1000),
    steps: PositiveInt = 1000,
    batch_size: PositiveInt = 32,
    learning_rates: tuple[NonNegativeFloat, ...] = (1e-3, 3e-3, 1e-2),
    held_out: PositiveInt = 200,
    cnn_width: PositiveInt = 16,
    patch_size: PositiveInt = 2,
    depth: PositiveInt = 4,
    dataset: str = "digits",
    data_dir: str | None = None,
) -> StudyResult:
    """Measure accuracy by the number of examples, of a CNN and a ViT of equal size.

    Args:
      train_sizes: numbers of training examples, rising.
      steps: training steps of each run, the same for every number of examples.
      learning_rates: candidates; each model takes the one of least held-out loss.
      held_out: examples on which the learning rate is chosen.
      cnn_width: channels of the ResNet's first stage; the ViT's width follows.
      patch_size: side of the ViT's patches in pixels; divides the image's side.
      depth: blocks of the ViT.
      dataset: digits, or a data set prepared in data_dir.
    """
    if list(train_sizes) != sorted(train_sizes):
        raise ValueError(f"train_sizes={train_sizes}: not rising; allowed: rising numbers of examples")
    data, num_classes = data_of(dataset, data_dir, train_sizes[-1], held_out)
    models = equal_models(data.images[0], num_classes, cnn_width, patch_size, depth)
    counts = {name: parameters(model, data.images[0]) for name, model in models.items()}
    accuracy, tuned = {}, {}
    for name, model in models.items():
        one = functools.partial(run, model, data, steps=steps, batch_size=batch_size, held_out=held_out)
        tries = [
            float(one(jax.random.key(99), train_sizes[-1], learning_rate)[0, 0]) for learning_rate in learning_rates
        ]
        tuned[name] = learning_rates[int(np.argmin(tries))]
        keys = jax.random.split(jax.random.key(0), num_seeds)
        accuracy[name] = np.array([[float(one(key, n, tuned[name])[1, 1]) for n in train_sizes] for key in keys])
    verdict, holds = judge(accuracy, np.asarray(train_sizes), counts)
    numbers = {f"{NAMES[name]}: parameters": count for name, count in counts.items()}
    numbers |= {f"{NAMES[name]}: learning rate": learning_rate for name, learning_rate in tuned.items()}
    for name, results in accuracy.items():
        numbers |= {f"{NAMES[name]}: accuracy from {n}": results[:, i].tolist() for i, n in enumerate(train_sizes)}
    headline = Headline(
        f"test accuracy of the CNN above the ViT from {train_sizes[0]}",
        accuracy["cnn"][:, 0] - accuracy["vit"][:, 0],
        dataset,
    )
    return StudyResult(numbers, verdict, {"cnn_vs_vit": draw(accuracy, np.asarray(train_sizes))}, holds, headline)


def draw(accuracy: dict[str, np.ndarray], train_sizes: np.ndarray):
    """Draw accuracy by the number of examples: the mean of the seeds and their range."""
    figure, axes = new_figure((6, 3.6), grid="both")
    for name, results in accuracy.items():
        mean_and_range(axes, train_sizes, 100 * results, COLORS[name], NAMES[name], "o-")
    axes.set(xscale="log", xlabel="training examples", ylabel="test accuracy, %")
    axes.set_xticks(train_sizes, [str(n) for n in train_sizes], minor=False)
    axes.minorticks_off()
    axes.legend(frameon=False)
    return figure


SMOKE = {"num_seeds": 2, "steps": 2, "train_sizes": (50, 100), "learning_rates": (1e-3,), "cnn_width": 4, "depth": 1}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
