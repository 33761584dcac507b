"""Retrieve and verify images of classes absent from training, by a learned embedding and by pixels.

python -m experiments.classical_vision.retrieval
    recall at 1 97.6 % by pixels and 98.0 % by the embedding, one example a class 68.1 % and 72.1 %, in 15 s
python -m experiments.classical_vision.retrieval --data_dir=DIR --steps=1200
    DIR/omniglot28.npz, handwritten characters: 29.0 % and 63.1 %, 8.2 % and 37.1 %, in 155 s of two busy cores

A small network learns some of the classes, by a softmax over cosines (Zhai & Wu 2019). Five digits alone are too few to
learn what makes a class: their turned and mirrored copies are classes of their own (Santoro et al. 2016). The other
classes, drawn by other people, are then searched among each other: is the nearest of the same class (recall at 1),
among all the others, and with a single example of each class to look at. For verification the threshold is set on some
of the held-out classes, at 1 % of false accepts, and used on the rest of them.

References: Zhai & Wu 2019, arXiv:1811.12649; Santoro et al. 2016, arXiv:1605.06065.
"""

import numpy as np

from dlcore.classical_vision.retrieval import acceptance_threshold, all_pairs, search
from dlcore.data.omniglot import omniglot as read_omniglot
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.metrics.retrieval import recall_at_k, verification
from dlcore.report.figure import BLUE, GRAY, new_figure
from experiments.classical_vision.learned_features import SmallConvNet, shift, train_features
from experiments.studies.small_runs import Digits, shuffled_digits


def held_out_digits(seed: int) -> Digits:
    """Train: 0 to 4. Test: 5 to 9, of the test writers."""
    data = shuffled_digits(seed)
    is_indexed, new = data.labels < 5, data.test_labels >= 5
    return Digits(data.images[is_indexed], data.labels[is_indexed], data.test_images[new], data.test_labels[new] - 5)


def omniglot(data_dir: str) -> Digits:
    """Train: the characters of the background set. Test: those of the evaluation set, other alphabets."""
    parts = [read_omniglot(data_dir, part).arrays for part in ("background", "evaluation")]
    return Digits(*(array for part in parts for array in (part["image"] / np.float32(255), part["label"])))


def rotated(data: Digits) -> Digits:
    """Each training image by quarter turns and in the mirror, eight times as many classes."""
    quarters = [np.rot90(data.images, k, (1, 2)) for k in range(4)]
    images = [*quarters, *(q[:, :, ::-1] for q in quarters)]
    classes = data.labels.max() + 1
    labels = [data.labels + classes * i for i in range(len(images))]
    return data._replace(images=np.concatenate(images), labels=np.concatenate(labels))


def one_shot(features: np.ndarray, labels: np.ndarray, draws: int, seed: int) -> float:
    """The share of images whose nearest is of their class, where the gallery holds one example of each class."""
    rng, right = np.random.default_rng(seed), []
    for _ in range(draws):
        shuffled = rng.permutation(len(labels))
        gallery = shuffled[np.unique(labels[shuffled], return_index=True)[1]]
        queries = np.setdiff1d(shuffled, gallery)
        nearest = search(features[queries], features[gallery], 1).index[:, 0]
        right.append((labels[gallery][nearest] == labels[queries]).mean())
    return float(np.mean(right))


def measure(features: np.ndarray, labels: np.ndarray, draws: int, seed: int) -> tuple[dict, object]:
    """(numbers, the ROC of the second half of the classes)."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:3000])
    classes = np.unique(labels)
    first = np.isin(labels[rows], classes[: len(classes) // 2])
    threshold = acceptance_threshold(*all_pairs(features[rows[first]], labels[rows[first]]), 0.01)
    similarity, same = all_pairs(features[rows[~first]], labels[rows[~first]])
    roc = verification(similarity, same)
    accepted = similarity >= threshold
    return {
        "recall at 1": recall_at_k(features, labels, 1),
        "one example a class": one_shot(features, labels, draws, seed),
        "verification, area": roc.auc,
        "verification, equal error": roc.eer,
        "same accepted": float(accepted[same].mean()),
        "different accepted": float(accepted[~same].mean()),
    }, roc


def study(
    *, data_dir: str | None = None, steps: PositiveInt = 800, draws: PositiveInt = 20, seed: Seed = 0
) -> StudyResult:
    """Compare a learned embedding with pixels on classes held out.

    Args:
      data_dir: folder with omniglot28.npz; None uses digits.
      draws: number of random galleries of one example per class.
    """
    data = rotated(held_out_digits(seed)) if data_dir is None else omniglot(data_dir)
    small = data.images.shape[1] < 16
    net = SmallConvNet(int(data.labels.max()) + 1, stride=1 if small else 2)
    learned = train_features(data, net, steps, seed, 64 if small else 128, shift(1 if small else 2))
    embeddings = {"pixels": data.test_images.reshape(len(data.test_images), -1), "embedding": learned(data.test_images)}
    figure, axes = new_figure((4.6, 3.8), grid="both")
    numbers, metrics = {}, {}
    for name, features in embeddings.items():
        metrics[name], roc = measure(features, data.test_labels, draws, seed)
        numbers |= {f"{name}: {key}": value for key, value in metrics[name].items()}
        rows = np.unique(np.linspace(0, len(roc.false_accept) - 1, 2000).astype(int))
        color = GRAY if name == "pixels" else BLUE
        axes.plot(roc.false_accept[rows], roc.true_accept[rows], color=color, label=f"{name}, area {roc.auc:.3f}")
    axes.plot([0, 1], [0, 1], ":", color="0.7")
    axes.set(xlabel="different pairs accepted", ylabel="same pairs accepted", title="classes never trained on")
    axes.legend(frameon=False, loc="lower right")
    a, b = metrics["pixels"], metrics["embedding"]
    keys = ("recall at 1", "one example a class", "verification, area")
    holds = all(b[key] > a[key] for key in keys)
    summary = "; ".join(f"{key}: {a[key]:.1%} by pixels, {b[key]:.1%} by the embedding" for key in keys)
    verdict = f"{summary}. The embedding is {'ahead in all' if holds else 'NOT ahead in all'} of them."
    headline = Headline("recall at 1 by the embedding", b["recall at 1"], "digits" if data_dir is None else "omniglot")
    return StudyResult(numbers, verdict, {"roc": figure}, holds, headline)


experiment = Study(__file__, __doc__, study, smoke={"steps": 20, "draws": 2})

if __name__ == "__main__":
    main(experiment)
