"""Measure how much the layers of a neocognitron change under a shift of the image.

python -m experiments.classic_ml.neocognitron
    1-NN of digits moved by one pixel: 43.5 % by pixels, 66.5 % by the first C-layer, 65.5 % by the second, in 10 s

Templates grow on digits, without labels and without a gradient. The digits are then moved by 0 to 3 pixels, and each
layer's responses are held against those to the unmoved ones, by the cosine, beside those to another digit; and the
nearest neighbor among the unmoved training digits names the moved test digits.

Reference: Fukushima 1980, "Neocognitron".
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.neocognitron import grow_stages, neocognitron, s_layer
from dlcore.data.digits import digits
from dlcore.evaluators.knn import knn_predict
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import PALETTE, new_figure


def responses(images: jax.Array, stages) -> dict[str, np.ndarray]:
    """{layer: [N, D]} of images [N, H, W, 1]."""
    first, last = neocognitron(images, stages)
    layers = {
        "pixels": images,
        "S1": s_layer(images, stages[0].templates, stages[0].selectivity),
        "C1": first,
        "C2": last,
    }
    return {name: np.asarray(u).reshape(len(images), -1) for name, u in layers.items()}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The mean of the cosines of rows [N, D]."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / np.maximum(lengths, 1e-12)).mean())


def study(
    *, examples: PositiveInt = 400, planes: PositiveInt = 40, max_shift: PositiveInt = 3, seed: Seed = 0
) -> StudyResult:
    """Compare each layer's responses to digits before and after a shift.

    Args:
      examples: number of training digits, and as many test digits, at most 500.
      planes: templates that the second stage may grow.
      max_shift: largest shift of the digits to the right, in pixels.
      seed: seed of the order of the patches that grow templates.
    """
    train, test = ({k: v[:examples] for k, v in digits(split).arrays.items()} for split in ("train", "test"))
    padding = ((0, 0), (4, 4), (4, 4), (0, 0))
    gallery, queries = (jnp.pad(jnp.asarray(split["image"]), padding) for split in (train, test))
    stages = grow_stages(jax.random.key(seed), gallery, counts=(12, planes))
    gallery_responses = responses(gallery, stages)
    alike, right = {name: [] for name in gallery_responses}, {name: [] for name in gallery_responses}
    still = responses(queries, stages)
    for shift in range(max_shift + 1):
        for name, u in responses(jnp.roll(queries, shift, 2), stages).items():
            alike[name].append(cosine(still[name], u))
            right[name].append(
                float((knn_predict(gallery_responses[name], train["label"], u, 1) == test["label"]).mean())
            )
    other_similarity = {name: cosine(u, np.roll(u, 1, 0)) for name, u in still.items()}
    figure, axes = new_figure((9, 3.4), 1, 2, grid="both")
    for ax, values, label in zip(axes, (alike, right), ("cosine with the unmoved", "1-NN accuracy"), strict=True):
        for i, (name, line) in enumerate(values.items()):
            ax.plot(range(max_shift + 1), line, "o-", color=PALETTE[i], label=name)
            if values is alike:
                ax.axhline(other_similarity[name], color=PALETTE[i], ls=":", lw=1)
        ax.set(
            xlabel="shift, pixels" + (" (dotted: another digit)" if values is alike else ""),
            ylabel=label,
            ylim=(0, 1.05),
            xticks=range(max_shift + 1),
        )
    ax.legend(frameon=False)
    holds = alike["C2"][1] > alike["C1"][1] > max(alike["S1"][1], alike["pixels"][1])
    one = {name: line[1] for name, line in right.items()}
    cosines = ", ".join(f"{name} {line[1]:.2f}" for name, line in alike.items())
    verdict = (
        f"Cosine after a shift by one pixel: {cosines}; each C-layer is {'more' if holds else 'NOT more'} tolerant "
        f"than its inputs. 1-NN of digits moved by one pixel: {one['pixels']:.1%} by pixels, {one['C2']:.1%} by C2."
    )
    numbers = {f"{name}: cosine by shift": line for name, line in alike.items()}
    numbers |= {f"{name}: 1-NN by shift": line for name, line in right.items()}
    numbers |= {f"{name}: cosine with another digit": value for name, value in other_similarity.items()}
    headline = Headline("1-NN accuracy by C2, digits moved by one pixel", one["C2"], "digits")
    return StudyResult(numbers, verdict, {"shifts": figure}, holds, headline)


experiment = Study(__file__, __doc__, study, smoke={"examples": 60, "max_shift": 1})

if __name__ == "__main__":
    main(experiment)
