"""Where to spend four times the work: a wider net, a deeper one, larger images, or a little of each.

python -m experiments.studies.model_scaling

Tan & Le (2019) scale all three together: depth d, width w, resolution r with d w^2 r^2 = 4, and find that better than
any one of them. Here a small residual network classifies five shapes on textured backgrounds (procedural scenes with
one shape each, drawn at 48x48 and shrunk to the resolution), at equal training steps, over several seeds. Work is the
multiply-adds of one forward pass. The claim holds where all three together are more accurate on average than the best
single one.

Reference: Tan & Le 2019, "EfficientNet", arXiv:1905.11946.

Measured over three seeds: the claim held. Test accuracy: base 40.0 %, wider 37.6, deeper 45.0, larger images 26.3, all
three 57.6 %, at 3.9x to 4.3x the work of the base; all three are ahead on every seed. No network has converged by then:
the verdict is one of equal steps, not of equal convergence.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.cost.layers import layer_costs, total
from dlcore.data.scenes import SHAPES, scenes
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models.resnet_cifar import CifarResNet
from dlcore.report.figure import BLUE, GRAY, GREEN, PINK, VERMILION, new_figure
from experiments.studies.small_runs import ZooNet, log_loss_and_accuracy, train

SIDE = 48
VARIANTS = {  # width, blocks a stage, resolution; the base is (8, 1, 16)
    "base": (8, 1, 16),
    "wider": (16, 1, 16),
    "deeper": (8, 4, 16),
    "larger images": (8, 1, 32),
    "all three": (9, 2, 20),
}


def network(variant: tuple[int, int, int]) -> ZooNet:
    """Make the CIFAR ResNet of a variant."""
    width, blocks, _ = variant
    return ZooNet(CifarResNet(len(SHAPES), (blocks,) * 3, width))


def shrunk(images: jax.Array, side: int) -> jax.Array:
    """Resize images [N, H, W, C] to side x side."""
    return jax.image.resize(images, (len(images), side, side, images.shape[-1]), "linear", antialias=True)


def shapes(count: int, seed: int) -> tuple[jax.Array, jax.Array]:
    """Draw images [N, 48, 48, 3] in [-1, 1] and the label of the one shape in each."""
    arrays = scenes(count, seed, size=SIDE, max_boxes=1, smallest=9, largest=24, empty=0.0).arrays
    return jnp.asarray(arrays["image"], jnp.float32) / 128 - 1, jnp.asarray(arrays["labels"][:, 0])


def work(variant: tuple[int, int, int]) -> float:
    """Count the multiply-adds of a forward pass over one image."""
    image = jax.ShapeDtypeStruct((1, variant[2], variant[2], 3), jnp.float32)
    return float(total(layer_costs(network(variant).model, image)).macs)


def judge(accuracy: dict[str, np.ndarray], macs: dict[str, float]) -> tuple[str, bool]:
    """Judge the test accuracies [seeds] and the work of every variant."""
    mean = {name: float(values.mean()) for name, values in accuracy.items()}
    single = max((name for name in mean if name not in ("base", "all three")), key=mean.get)
    summary = "; ".join(
        f"{name} {mean[name]:.1%} ({accuracy[name].min():.1%} to {accuracy[name].max():.1%}) at "
        f"{macs[name] / macs['base']:.1f} times the work"
        for name in mean
    )
    better = int((accuracy["all three"] > accuracy[single]).sum())
    num_seeds = len(accuracy["base"])
    verdict = (
        f"{summary}. All three together are {100 * (mean['all three'] - mean[single]):+.1f} points from the best "
        f"single one ({single}), ahead on {better} of {num_seeds} seeds."
    )
    return verdict, mean["all three"] > mean[single]


def draw(accuracy, macs):
    figure, axes = new_figure((6.5, 3.8), grid="both")
    for name, color in zip(accuracy, (GRAY, BLUE, GREEN, PINK, VERMILION), strict=False):
        values = 100 * accuracy[name]
        axes.plot([macs[name] / 1e6] * len(values), values, "o", color=color, alpha=0.5)
        axes.plot(macs[name] / 1e6, values.mean(), "_", color=color, markersize=22, markeredgewidth=2.5, label=name)
    axes.set(xlabel="million multiply-adds an image", ylabel="test accuracy, %", xscale="log")
    axes.legend(frameon=False, fontsize=9)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 1000,
    num_examples: PositiveInt = 3000,
    batch_size: PositiveInt = 32,
    variants: tuple[Literal["base", "wider", "deeper", "larger images", "all three"], ...] = tuple(VARIANTS),
) -> StudyResult:
    """Train every variant on every seed.

    Args:
      num_examples: training examples; a third as many are tested on.
      variants: base, all three, and at least one of wider, deeper and larger images.

    Raises:
      ValueError: base, all three or the others are missing.
    """
    if not {"base", "all three"} < set(variants):
        raise ValueError(f"variants={','.join(variants)}: no comparison; allowed: base, all three and another")
    macs = {name: work(VARIANTS[name]) for name in variants}
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))

    @functools.partial(jax.jit, static_argnums=0)
    def run(variant, key, images, labels, test_images, test_labels):
        net = network(variant)
        images, test_images = (shrunk(x, variant[2]) for x in (images, test_images))
        variables, _ = train(key, net, optimizer, images, labels, steps, batch_size=batch_size)
        logits = net.apply(jax.tree.map(lambda v: v[0], variables), test_images, False)
        return log_loss_and_accuracy(jax.nn.log_softmax(logits), test_labels)[1]

    accuracy = {name: [] for name in variants}
    for seed in range(num_seeds):
        data = (*shapes(num_examples, seed), *shapes(max(10, num_examples // 3), 1000 + seed))
        for name in variants:
            accuracy[name].append(float(run(VARIANTS[name], jax.random.key(seed), *data)))
    accuracy = {name: np.array(values) for name, values in accuracy.items()}
    verdict, holds = judge(accuracy, macs)
    numbers = {f"{name}: test accuracy": values.tolist() for name, values in accuracy.items()}
    numbers |= {f"{name}: operations": macs[name] for name in variants}
    headline = Headline("test accuracy, all three scaled", accuracy["all three"], "shapes")
    return StudyResult(numbers, verdict, {"model_scaling": draw(accuracy, macs)}, holds, headline)


SMOKE = {"num_seeds": 1, "steps": 2, "num_examples": 30, "batch_size": 4, "variants": ("base", "wider", "all three")}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
