"""Do smaller patches of a vision transformer buy accuracy with compute?

python -m experiments.studies.patch_size

A ViT of N = (H / p)² patches costs about N (12 D² + 2 N D) multiply-adds a block: half the side p is four times the
work and more. ViTs that differ in p alone learn drawn characters of 16 x 16 pixels for the same number of steps. The
learning rate of each is the best of a few on validation drawings; the test drawings are used once. The claim holds
where on every seed each smaller patch has the higher test accuracy.

Measured over three seeds, the claim does not hold at this size: 2 x 2 pixels have 66.2 %, 4 x 4 60.7 % and 8 x 8, at a
sixteenth of the work of the first, 69.9 %. From 960 drawings, few large patches are learned as well as many small ones.

Reference: Dosovitskiy et al. 2020, arXiv:2010.11929, table 2 (ViT-L/16 against ViT-L/32 in its text).
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.cost.layers import layer_costs, total
from dlcore.data.stroke_characters import stroke_characters
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model
from dlcore.report.figure import BLUE, new_figure
from experiments.studies.small_runs import ZooNet, train

SIZE, NUM_CLASSES, NUM_TRAIN, NUM_VALID, NUM_TEST = 16, 40, 24, 6, 10
"""Side of a drawing, characters, and drawings of each character in each split."""
RATES = (1e-3, 3e-3)


def split_drawings() -> dict[str, tuple[jax.Array, jax.Array]]:
    """Draw the characters: {split: (images [N, 16, 16, 1], labels [N])}."""
    per_class = NUM_TRAIN + NUM_VALID + NUM_TEST
    images = stroke_characters(range(NUM_CLASSES), per_class, SIZE).arrays["image"]
    images = jnp.asarray(images).reshape(NUM_CLASSES, per_class, SIZE, SIZE, 1)
    bounds = {
        "train": (0, NUM_TRAIN),
        "valid": (NUM_TRAIN, NUM_TRAIN + NUM_VALID),
        "test": (per_class - NUM_TEST, None),
    }
    parts = {split: images[:, first:last] for split, (first, last) in bounds.items()}
    return {
        split: (part.reshape(-1, SIZE, SIZE, 1), jnp.arange(NUM_CLASSES).repeat(part.shape[1]))
        for split, part in parts.items()
    }


def vit(patch_size: int):
    """A ViT of three blocks of width 48 on patches of `patch_size` x `patch_size` pixels."""
    fields = {"width": 48, "num_heads": 3, "mlp_features": 96, "depth": 3}
    return create_model("vit_tiny_cifar", image_size=SIZE, patch_size=patch_size, num_classes=NUM_CLASSES, **fields)


def multiply_adds(patch_size: int) -> float:
    """Multiply-adds of a forward pass of one drawing."""
    return float(total(layer_costs(vit(patch_size), jnp.zeros((1, SIZE, SIZE, 1)))).macs)


def accuracies(patch_size: int, num_seeds: int, steps: int) -> tuple[np.ndarray, float]:
    """Train at the better learning rate: (test accuracy [seeds], the rate)."""
    drawings, net = split_drawings(), ZooNet(vit(patch_size))
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, max(1, steps // 10), steps)

    @jax.jit
    def run(key, learning_rate):
        """Accuracy by split."""
        optimizer = optax.adamw(lambda step: learning_rate * schedule(step), weight_decay=0.05)
        variables, _ = train(key, net, optimizer, *drawings["train"], steps, batch_size=32)
        last = jax.tree.map(lambda v: v[-1], variables)

        def accuracy(images, labels):
            return (net.apply(last, images, False).argmax(-1) == labels).mean()

        return {split: accuracy(*drawings[split]) for split in ("valid", "test")}

    valid = [float(run(jax.random.key(99), rate)["valid"]) for rate in RATES]
    rate = RATES[int(np.argmax(valid))]
    return np.array([float(run(jax.random.key(seed), rate)["test"]) for seed in range(num_seeds)]), rate


def report(accuracy: dict[int, np.ndarray], macs: dict[int, float], rates: dict[int, float]) -> StudyResult:
    """Judge {patch size: test accuracy [seeds]} beside its multiply-adds and its learning rate."""
    sizes = sorted(accuracy)  # from small to large
    holds = all((accuracy[a] > accuracy[b]).all() for a, b in itertools.pairwise(sizes))
    listed = ", ".join(f"{p} x {p}: {accuracy[p].mean():.1%} at {macs[p] / 1e6:.2f} million" for p in sizes)
    verdict = f"Test accuracy by patch, at multiply-adds a drawing: {listed}."
    figure, axes = new_figure((5.0, 3.2))
    for p in sizes:
        axes.plot(np.full(len(accuracy[p]), macs[p] / 1e6), 100 * accuracy[p], "o", color=BLUE, alpha=0.5)
        axes.annotate(f" {p} x {p}", (macs[p] / 1e6, 100 * accuracy[p].mean()), va="center")
    means = [100 * accuracy[p].mean() for p in sizes]
    axes.plot([macs[p] / 1e6 for p in sizes], means, color=BLUE)
    axes.margins(x=0.15)
    axes.set(xscale="log", xlabel="million multiply-adds a drawing", ylabel="test accuracy, %")
    axes.minorticks_off()
    axes.set_xticks([macs[p] / 1e6 for p in sizes], [f"{macs[p] / 1e6:.2f}" for p in sizes])
    numbers = {f"test accuracy, {p} x {p}": accuracy[p].tolist() for p in sizes}
    numbers |= {f"multiply-adds, {p} x {p}": macs[p] for p in sizes}
    numbers |= {f"learning rate, {p} x {p}": rates[p] for p in sizes}
    largest = float(accuracy[sizes[-1]].mean())
    headline = Headline(
        "test accuracy with the smallest patch",
        accuracy[sizes[0]],
        "stroke characters",
        0.03,
        (largest, "the largest patch", "higher"),
    )
    return StudyResult(numbers, verdict, {"patch size": figure}, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 600,
    patch_sizes: tuple[PositiveInt, ...] = (2, 4, 8),
) -> StudyResult:
    """Train a ViT for each patch size.

    Args:
      steps: training steps of each run, of 32 drawings.
      patch_sizes: sides of the patches in pixels, each a divisor of 16.

    Raises:
      ValueError: fewer than two patch sizes, one twice, or one that does not divide 16.
    """
    if len(set(patch_sizes)) < max(2, len(patch_sizes)) or any(p < 1 or SIZE % p for p in patch_sizes):
        raise ValueError(f"patch_sizes={patch_sizes}: allowed: two or more different divisors of {SIZE}")
    results = {p: accuracies(p, num_seeds, steps) for p in patch_sizes}
    accuracy, rates = ({p: result[i] for p, result in results.items()} for i in (0, 1))
    return report(accuracy, {p: multiply_adds(p) for p in patch_sizes}, rates)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 2, "patch_sizes": (8, 16)})

if __name__ == "__main__":
    main(experiment)
