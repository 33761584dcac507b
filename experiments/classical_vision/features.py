"""Compare hand-crafted features with raw pixels under the same small classifier.

python -m experiments.classical_vision.features
    pixels 91.8 %, HOG 92.2 %, visual words 95.4 %, all of them 97.4 %, in 36 s of processor time
python -m experiments.classical_vision.features --dataset=fashion_mnist --data_dir=DIR --hidden=0
    pixels 84.6 %, HOG 88.2 %, visual words 87.5 %, all of them 90.5 %, in 145 s of processor time
python -m experiments.classical_vision.features --dataset=fashion_mnist --data_dir=DIR --hidden=0 --signed \\
    --orientations=16
    HOG 89.6 %, all of them 90.9 %
python -m experiments.classical_vision.features --dataset=cifar10 --data_dir=DIR --hidden=0
    pixels 40.9 %, color 30.8 %, HOG 52.0 %, visual words 52.6 %, HOG with color 57.4 %, all of them 63.7 %, in 268 s

Pixels, a color histogram (of color images), HOG, a bag of visual words (random patches, k-means) and all of them
together go into a linear classifier, the last into one of two layers too. The weight decay of each is chosen on the
validation split, over the first `tune` training examples; the test split is asked once for each.

References: Dalal & Triggs 2005, "Histograms of oriented gradients for human detection"; Csurka et al. 2004, "Visual
categorization with bags of keypoints".
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.kmeans import kmeans
from dlcore.classical_vision.bag_of_words import encode, random_patches
from dlcore.classical_vision.color_histogram import color_histogram
from dlcore.classical_vision.feature_classifier import choose_l2, concatenate, fit_classifier
from dlcore.classical_vision.hog import hog
from dlcore.data.image_classification import load
from dlcore.data.source import Source
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from dlcore.run.progress import say


def pixels_of(source: Source) -> np.ndarray:
    """[N, H, W, C] float32 in [0, 1]."""
    images = source.arrays["image"]
    return images / np.float32(255) if images.dtype == np.uint8 else images


def extract(
    splits: list[np.ndarray],
    seed: int,
    words: int,
    patches: int,
    bins: int,
    orientations: int = 9,
    signed: bool = False,
) -> tuple[dict, np.ndarray]:
    """({name: features [N, D] of each split}, the codebook [words, size, size, C], clustered from the first)."""
    _, height, width, channels = splits[0].shape
    side = min(height, width)
    cell, size, stride = max(2, side // 7), max(3, side // 5), max(1, side // 16)
    keys = jax.random.split(jax.random.key(seed))
    sample = random_patches(keys[0], jnp.asarray(splits[0][:10_000]), patches, size)
    codebook = kmeans(keys[1], sample, words, restarts=1, max_iterations=30).centers
    features = {"pixels": [x.reshape(len(x), -1) for x in splits]}
    if channels == 3:
        features["color histogram"] = [np.asarray(color_histogram(x, bins, space="hsv")) for x in splits]
    features["HOG"] = [np.asarray(hog(x, orientations, cell, 2, signed=signed)) for x in splits]
    features["visual words"] = [np.asarray(encode(x, codebook, size, stride=stride, grid=2)) for x in splits]
    by_hand = [name for name in features if name != "pixels"]
    if channels == 3:
        pair = ("HOG", "color histogram")
        features["HOG, color"] = [concatenate(*parts) for parts in zip(*(features[n] for n in pair), strict=True)]
    features["all by hand"] = [concatenate(*parts) for parts in zip(*(features[n] for n in by_hand), strict=True)]
    return features, np.asarray(codebook).reshape(words, size, size, channels)


def learn(features: list[np.ndarray], labels: list[np.ndarray], num_classes: int, tune: int, **fit: Any) -> dict:
    """Choose l2 on the validation split, fit on all training examples, ask the test split once.

    The loss is a mean: what is chosen on `tune` of N examples is a penalty of l2 tune / N on all of them.
    """
    part = (features[0][:tune], labels[0][:tune])
    classifier, l2, _ = choose_l2(part, (features[1], labels[1]), num_classes, (1e-3, 1e-2, 1e-1), **fit)
    if tune < len(labels[0]):
        l2 *= tune / len(labels[0])
        classifier = fit_classifier(features[0], labels[0], num_classes, l2=l2, **fit)
    accuracy = {
        name: float((classifier.predict(x) == y).mean())
        for name, x, y in zip(("valid", "test"), features[1:], labels[1:], strict=True)
    }
    return {"l2": l2, "dimensions": features[0].shape[1], **accuracy}


def judge(results: dict[str, dict]) -> tuple[str, bool]:
    """Whether the features by hand that did best in validation beat the pixels on the test split."""
    linear = {name: r for name, r in results.items() if "layers" not in name and name != "pixels"}
    best = max(linear, key=lambda name: linear[name]["valid"])
    gain = results[best]["test"] - results["pixels"]["test"]
    summary = "; ".join(f"{name} {r['test']:.1%}" for name, r in results.items())
    how = "above" if gain > 0 else "NOT above"
    return f"Test accuracy: {summary}. A linear classifier on {best} is {abs(gain):.1%} {how} one on pixels.", gain > 0


def draw(results: dict[str, dict], codebook: np.ndarray):
    figure, (bars, tiles) = new_figure((9, 3.4), 1, 2, width_ratios=(2, 1))
    names, values = list(results), [100 * r["test"] for r in results.values()]
    colors = [GRAY if n == "pixels" else VERMILION if "layers" in n else BLUE for n in names]
    bar_artists = bars.barh(names, values, color=colors)
    bars.bar_label(bar_artists, fmt="%.1f", padding=3)
    bars.set(xlabel="test accuracy, %", xlim=(0, 112))
    bars.invert_yaxis()
    count, size, _, channels = codebook.shape
    across = int(np.ceil(np.sqrt(count)))
    low, high = codebook.min((1, 2, 3), keepdims=True), codebook.max((1, 2, 3), keepdims=True)
    framed = np.pad(
        (codebook - low) / (high - low + 1e-9), ((0, across**2 - count), (0, 1), (0, 1), (0, 0)), constant_values=0.5
    )
    sheet = framed.reshape(across, across, size + 1, size + 1, channels).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(across * (size + 1), -1, channels)
    picture = sheet if channels == 3 else sheet[..., 0]
    show_image(tiles, picture, f"the {count} visual words", cmap="gray", interpolation="nearest")
    return figure


def study(
    *,
    dataset: str = "digits",
    data_dir: str | None = None,
    loss: Literal["softmax", "hinge"] = "softmax",
    words: PositiveInt = 144,
    patches: PositiveInt = 20_000,
    bins: PositiveInt = 6,
    orientations: PositiveInt = 9,
    signed: bool = False,
    hidden: PositiveInt = 128,
    steps: PositiveInt = 100,
    tune: PositiveInt = 10_000,
    examples: int | None = None,
    seed: Seed = 0,
) -> StudyResult:
    """Compare features with pixels.

    Args:
      dataset: digits, or a name that is prepared in data_dir.
      loss: loss of the classifier; hinge is the multiclass SVM's.
      words: number of words in the codebook.
      patches: number of random patches clustered into words.
      bins: number of bins of the color histogram, for each of hue, saturation and value.
      orientations: bins of HOG's angles.
      signed: let HOG tell light on dark from dark on light.
      hidden: units of the two-layer classifier; 0 omits it.
      steps: steps of L-BFGS for each classifier.
      tune: number of training examples used to choose the weight decay.
      examples: number of training examples; None uses all.
      seed: seed of the validation split, the patches and the codebook.
    """
    data = load(dataset, data_dir, seed=seed)
    sources = [data.train if examples is None else data.train.take(examples), data.valid, data.test]
    labels = [np.asarray(s.arrays["label"]) for s in sources]
    features, codebook = extract([pixels_of(s) for s in sources], seed, words, patches, bins, orientations, signed)
    num_classes, results = len(data.class_names), {}
    for name, splits in features.items():
        results[name] = learn(splits, labels, num_classes, tune, loss=loss, steps=steps)
        say(f"  {name}: {results[name]}")
    if hidden:
        settings = {"loss": loss, "steps": steps, "hidden": hidden}
        results["all, two layers"] = learn(features["all by hand"], labels, num_classes, tune, **settings)
    verdict, holds = judge(results)
    numbers = {f"{name}, {key}": value for name, r in results.items() for key, value in r.items()}
    headline = Headline("test accuracy, all by hand", results["all by hand"]["test"], dataset)
    return StudyResult(numbers, verdict, {"features": draw(results, codebook)}, holds, headline)


experiment = Study(
    __file__, __doc__, study, smoke={"examples": 200, "words": 9, "patches": 500, "steps": 10, "hidden": 16}
)

if __name__ == "__main__":
    main(experiment)
