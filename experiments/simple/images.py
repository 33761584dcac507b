"""Simple methods on images: neighbors and kernels on pixels, gradients and colors.

Methods on data that are files read them from the folder of the environment variable DATA_DIR.
"""

from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter

from dlcore.classical_vision.hog import hog
from dlcore.data.bank_and_queries import bank_and_queries
from dlcore.data.splits import Splits
from dlcore.data.stroke_characters import stroke_characters
from dlcore.diagnostics.simple_methods import (
    best_classifier,
    class_gaussians,
    color_histograms,
    discriminant_projection,
    flat,
    normalize_by_moments,
    relabel,
    spread_labels,
    with_shifts,
)
from dlcore.metrics.retrieval import recall_at_k
from experiments.simple.method import SimpleMethod, data_dir, page_splits

__all__ = ["METHODS"]

SELF_SUPERVISED = (
    "digits-rotation",
    "digits-relative-patch",
    "digits-mae",
    "digits-jigsaw",
    "digits-dino",
    "digits-exemplar",
    "digits-deep-cluster",
    "digits-inpainting",
    *(f"self_supervised.{name}-digits" for name in ("outpainting", "unrotation", "moco", "vicreg", "nnclr", "supcon")),
    *(f"self_supervised.{name}-digits" for name in ("barlow_twins", "simsiam", "byol", "ibot", "dinov2_objective")),
    *(f"self_supervised.{name}-digits" for name in ("swav", "beit", "simmim", "data2vec", "moco_v3", "ijepa")),
)
"""Rows of encoders of digits, measured by k-NN."""
FASHION = (
    *(f"fashion-mnist-{name}" for name in ("moco", "simclr", "simclr-lars")),
    *(f"fashion-{name}" for name in ("rotation", "dino", "mae")),
)
"""Rows of encoders of Fashion-MNIST, measured by k-NN."""
PHOTOGRAPHS = tuple(f"photographs-{name}" for name in ("colorization", "cross-channel", "super-resolution-pretext"))
"""Rows of encoders of crops of photographs, measured by k-NN."""
FEW_LABELS = (
    *(f"digits-{name}" for name in ("gan-classifier", "vat", "mean-teacher", "pseudo-label", "pi-model", "ict")),
    *(f"digits-{name}" for name in ("temporal-ensembling", "mixmatch", "fixmatch")),
    "semi_supervised.gan_classifier-digits",
)
"""Rows of digits with four labels a class."""
FINE_TUNING = ("digits-fine-tuning", *(f"digits-fine-tuning-{name}" for name in ("at-once", "head", "scratch")))
FINE_TUNING += ("digits-fine-tuning-biases",)
"""Rows of digits with ten labels a class."""


def with_files(*words: str) -> tuple[str, ...]:
    """Add the folder of the data sets that are files to the words of a page's command line."""
    return *words, f"--data_dir={data_dir()}"


def rows_of(part) -> tuple[np.ndarray, np.ndarray]:
    """(pixels [N, D], labels [N]) of a source."""
    return flat(part.arrays["image"]), np.asarray(part.arrays["label"])


def splits_of(page: str, words: tuple[str, ...], seed: int, features=flat) -> list[tuple[np.ndarray, np.ndarray]]:
    """(features [N, D], labels [N]) of the training, validation and test split."""
    splits = page_splits(page, words, seed=seed)
    return [(features(part.arrays["image"]), np.asarray(part.arrays["label"])) for part in splits[:3]]


def digits_knn(seed: int) -> float:
    """Classify the test digits by their neighbors among the labeled training digits."""
    train, valid, test = splits_of("self_supervised.byol", (), seed)
    return best_classifier(train, valid, kinds=("knn",))[1].score(*test)


def digits_svm(seed: int) -> float:
    """Classify digits by a kernel machine that is trained on them and on copies shifted by a pixel."""
    splits = page_splits("classification.distillation", seed=seed)
    images, labels = with_shifts(splits.train.arrays["image"], splits.train.arrays["label"])
    model = best_classifier((flat(images), labels), rows_of(splits.valid), kinds=("svm",))[1]
    return model.score(*rows_of(splits.test))


def bank_knn(page: str, words: tuple[str, ...], seed: int, features=flat, size: int = 5000, most: int = 1000) -> float:
    """Classify test images by their neighbors among the labeled images that the page's own k-NN has."""
    splits = page_splits(page, words, seed=seed)
    both = bank_and_queries(splits.train, splits.test, size, seed)
    inside = both.arrays["bank"] == 1
    images, labels = both.arrays["image"], np.asarray(both.arrays["label"])
    valid = features(splits.valid.arrays["image"][:most]), splits.valid.arrays["label"][:most]
    model = best_classifier((features(images[inside]), labels[inside]), valid, kinds=("knn",))[1]
    return model.score(features(images[~inside]), labels[~inside])


def fashion_knn(seed: int) -> float:
    """Classify clothes by their neighbors among 5,000 labeled ones, by pixels."""
    return bank_knn("self_supervised.simclr", with_files("--dataset=fashion_mnist"), seed)


def cifar_knn(seed: int) -> float:
    """Classify CIFAR-10 by neighbors among 5,000 labeled images, by histograms of oriented gradients."""
    return bank_knn("self_supervised.simclr", with_files("--dataset=cifar10"), seed, oriented_gradients)


def few_labels(seed: int) -> float:
    """Spread the labels of four digits a class over the training digits."""
    splits = page_splits("semi_supervised.fixmatch", seed=seed)
    unlabeled = flat(splits.train["unlabeled"].arrays["image"])
    model = spread_labels(rows_of(splits.train["labeled"]), unlabeled, rows_of(splits.valid))[1]
    return float(model.score(*rows_of(splits.test)))


def files_few_labels(dataset: str, count: int, seed: int, most: int = 10_000) -> float:
    """Spread labels in a data set that is files, `count` of each class, by oriented gradients."""
    words = with_files(f"--dataset={dataset}", f"--labels_per_class={count}")
    splits = page_splits("semi_supervised.fixmatch", words, seed=seed)
    parts = splits.train["labeled"], splits.valid, splits.test
    labeled, valid, test = ((oriented_gradients(p.arrays["image"], 7), np.asarray(p.arrays["label"])) for p in parts)
    unlabeled = oriented_gradients(splits.train["unlabeled"].arrays["image"][:most], 7)
    model = spread_labels(labeled, unlabeled, valid, neighbors=(10,), alphas=(0.2, 0.9, 0.99))[1]
    return float(model.score(*test))


def gradients_svm(dataset: str, seed: int, most: int = 10_000) -> float:
    """Classify by a kernel machine on oriented gradients of the first 10,000 training images."""
    splits = page_splits("classification.supervised", with_files(f"--dataset={dataset}"), seed=seed)
    side = splits.train.arrays["image"].shape[1] // 4
    parts = zip(splits[:3], (most, 1000, None), strict=True)
    train, valid, test = (
        (oriented_gradients(p.arrays["image"][:n], side), np.asarray(p.arrays["label"][:n])) for p, n in parts
    )
    return best_classifier(train, valid, kinds=("svm",))[1].score(*test)


def noisy_labels(seed: int) -> float:
    """Correct wrong labels by those of the neighbors, then classify."""
    (train, labels), valid, test = splits_of("semi_supervised.noisy_labels", (), seed)
    return best_classifier((train, relabel(train, labels)), valid)[1].score(*test)


def one_gaussian_a_class(dataset: str, seed: int) -> float:
    """Learn the classes one after the other, one Gaussian each; the mean accuracy of the pairs of classes."""
    words = () if dataset == "digits" else with_files(f"--dataset={dataset}")
    train, valid, (x, y) = splits_of("classification.supervised", words, 0)
    del seed  # neither the split nor the method has one
    model = class_gaussians(train, tuple(part[:1000] for part in valid))[1]
    pairs = (y // 2 == k for k in range((int(y.max()) + 2) // 2))
    return float(np.mean([model.score(x[rows], y[rows]) for rows in pairs]))


def active_svm(seed: int, rounds: int = 14, count: int = 20) -> float:
    """Buy labels where a kernel machine is least sure: the points of area that it gains over random purchases."""
    from experiments.transfer.active import examples, first_labels

    x, y, test_x, test_y = examples("digits", None, 1297)
    areas = {}
    for strategy in ("margin", "random"):
        labeled, rng = first_labels(y, 2, seed + 1)[seed].copy(), np.random.default_rng(seed)
        accuracies = []
        for _ in range(rounds + 1):
            accuracies.append(svm_of(x[labeled], y[labeled]).score(test_x, test_y))
            unlabeled = np.flatnonzero(~labeled)
            if strategy == "margin":
                scores = np.sort(svm_of(x[labeled], y[labeled]).decision_function(x[unlabeled]))
                selected_idx = np.argsort(scores[:, -1] - scores[:, -2])[:count]
            else:
                selected_idx = rng.permutation(len(unlabeled))[:count]
            labeled[unlabeled[selected_idx]] = True
        areas[strategy] = 100 * np.trapezoid(accuracies) / rounds
    return float(areas["margin"] - areas["random"])


def svm_of(x: np.ndarray, y: np.ndarray):
    """Fit a kernel machine."""
    from sklearn.svm import SVC

    return SVC(C=10).fit(x, y)


def mnist_few_images(seed: int) -> float:
    """Classify MNIST by twenty labeled images a class, and copies shifted by a pixel."""
    return fine_tuning_shifts(seed, with_files("--dataset=mnist", "--labels_per_class=20"))


def fine_tuning_shifts(seed: int, words: tuple[str, ...] = ()) -> float:
    """Classify digits by few labeled ones a class, and copies shifted by a pixel."""
    splits = page_splits("transfer.fine_tuning", words, seed=seed)
    images, labels = with_shifts(splits.train.arrays["image"], splits.train.arrays["label"])
    model = best_classifier((flat(images), labels), rows_of(splits.valid), kinds=("knn", "svm"))[1]
    return model.score(*rows_of(splits.test))


def fine_tuning_spread(seed: int) -> float:
    """Spread ten labels a class over the training images without labels."""
    splits = page_splits("transfer.fine_tuning", seed=seed)
    unlabeled = page_splits("transfer.fine_tuning", ("--labels_per_class=none",), seed=seed).train
    model = spread_labels(rows_of(splits.train), flat(unlabeled.arrays["image"]), rows_of(splits.valid))[1]
    return float(model.score(*rows_of(splits.test)))


def oriented_gradients(images: np.ndarray, cell: int = 4) -> np.ndarray:
    """Histograms of oriented gradients, of blocks of 2 x 2 cells: [N, H, W, C] -> [N, D]."""
    return np.asarray(hog(flat(images).reshape(images.shape), cell=cell, block=2))


def drawing_features(images: np.ndarray) -> np.ndarray:
    """Oriented gradients and blurred pixels of drawings that are normalized by their moments."""
    x = normalize_by_moments(images)
    return np.concatenate([oriented_gradients(x, x.shape[1] // 4), flat(gaussian_filter(x, (0, 0.7, 0.7, 0)))], 1)


def omniglot(seed: int) -> float:
    """Classify characters of Omniglot of one example each."""
    return few_shot(with_files("--dataset=omniglot"), seed)


def few_shot(words: tuple[str, ...], seed: int, size: int = 40) -> float:
    """Classify characters of one example each by the nearest, in a linear discriminant analysis of other characters."""
    splits = page_splits("transfer.few_shot", words, seed=seed)
    source = splits.train.arrays["support"].episodes.source
    project = discriminant_projection(drawing_features(source.arrays["image"]), source.arrays["label"], size)
    return episode_accuracy(splits, project)


def episode_accuracy(splits: Splits, project) -> float:
    """Accuracy of the nearest class mean by cosine, over the test episodes."""
    array = splits.test.arrays["support"]
    episodes = array.episodes
    z = project(drawing_features(episodes.source.arrays["image"]))
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    accuracies = []
    for i in range(len(array)):
        rows = episodes.rows(i)[0]  # [W, S + Q]
        means, queries = z[rows[:, : episodes.shot]].mean(1), z[rows[:, episodes.shot :]]
        predictions = (queries @ means.T).argmax(-1)
        accuracies.append((predictions == np.arange(len(rows))[:, None]).mean())
    return float(np.mean(accuracies))


def drawing_recall(num_classes: int, num_unseen: int, seed: int, size: int = 40) -> float:
    """Recall at 1 of characters never seen, in a linear discriminant analysis of the training characters."""
    del seed  # nothing is drawn at random
    train = stroke_characters(range(num_classes), 20).arrays
    test = stroke_characters(range(num_classes, num_classes + num_unseen), 20).arrays
    project = discriminant_projection(drawing_features(train["image"]), train["label"], size)
    return float(recall_at_k(project(drawing_features(test["image"])), test["label"]))


METHODS = [
    SimpleMethod(
        "digits-knn", SELF_SUPERVISED, "test knn", "higher", "k-NN on raw pixels", digits_knn, seeds=(0, 1, 2)
    ),
    SimpleMethod(
        "digits-svm",
        ("digits-resnet8", *(f"digits-distillation-{kind}" for kind in ("hard", "soft", "none"))),
        "test accuracy",
        "higher",
        "SVM on raw pixels, with copies shifted by a pixel",
        digits_svm,
        seeds=(0, 1, 2),
    ),
    SimpleMethod(
        "digits-label-spreading",
        FEW_LABELS,
        "test accuracy",
        "higher",
        "label spreading on the graph of nearest neighbors",
        few_labels,
        seeds=(0, 1, 2, 3, 4),
    ),
    SimpleMethod("fashion-knn", FASHION, "test knn", "higher", "k-NN on raw pixels", fashion_knn),
    SimpleMethod(
        "cifar10-knn",
        ("cifar10-simclr", "cifar10-moco"),
        "test knn",
        "higher",
        "k-NN on histograms of oriented gradients",
        cifar_knn,
    ),
    SimpleMethod(
        "photographs-knn",
        PHOTOGRAPHS,
        "test knn",
        "higher",
        "k-NN on raw pixels",
        partial(bank_knn, "self_supervised.colorization", ()),
    ),
    SimpleMethod(
        "photographs-colors",
        PHOTOGRAPHS,
        "test knn",
        "higher",
        "k-NN on histograms of colors, which the encoder of colorization does not see",
        partial(bank_knn, "self_supervised.colorization", (), features=color_histograms),
    ),
    SimpleMethod(
        "digits-noisy-labels",
        ("semi_supervised.noisy_labels-digits",),
        "test accuracy",
        "higher",
        "labels corrected by those of 20 neighbors, then k-NN or SVM",
        noisy_labels,
        seeds=(0, 1, 2),
    ),
    SimpleMethod(
        "digits-class-gaussians",
        ("transfer.continual",),
        "accuracy, class-incremental, replay",
        "higher",
        "one Gaussian a class, which no later class changes",
        partial(one_gaussian_a_class, "digits"),
    ),
    SimpleMethod(
        "digits-active-svm",
        ("transfer.active",),
        "area under the curve gained by margin, points",
        "higher",
        "SVM on raw pixels, labels bought by its margin",
        active_svm,
        seeds=(0, 1, 2, 3, 4),
    ),
    SimpleMethod(
        "digits-ten-labels",
        FINE_TUNING,
        "test accuracy",
        "higher",
        "k-NN or SVM on raw pixels, with copies shifted by a pixel",
        fine_tuning_shifts,
        seeds=(0, 1, 2, 3, 4),
    ),
    SimpleMethod(
        "digits-ten-labels-spread",
        FINE_TUNING,
        "test accuracy",
        "higher",
        "label spreading, with the training images without labels",
        fine_tuning_spread,
        seeds=(0, 1, 2, 3, 4),
    ),
    SimpleMethod(
        "strokes-lda",
        ("transfer.few_shot-strokes",),
        "test accuracy",
        "higher",
        "nearest example in an LDA of HOG and pixels of the normalized drawing",
        partial(few_shot, ()),
    ),
    SimpleMethod(
        "strokes-lda-mining",
        ("studies.triplet_mining",),
        "recall at 1 of unseen characters, semi-hard negatives of each epoch's network",
        "higher",
        "LDA of HOG and pixels of the normalized drawing",
        partial(drawing_recall, 60, 100),
    ),
    SimpleMethod(
        "strokes-lda-margin",
        ("studies.margin",),
        "recall at 1 of unseen characters, margin 1.0",
        "higher",
        "LDA of HOG and pixels of the normalized drawing",
        partial(drawing_recall, 300, 100),
    ),
    SimpleMethod(
        "mnist-label-spreading-40",
        ("mnist-fixmatch-40", "mnist-fixmatch-40-alignment"),
        "test accuracy",
        "higher",
        "label spreading by HOG, over 10,000 images without labels",
        partial(files_few_labels, "mnist", 4),
    ),
    SimpleMethod(
        "mnist-label-spreading-100",
        (
            *tuple(
                f"mnist-{name}" for name in ("mean-teacher", "vat", "fixmatch-100", "pseudo-label", "gan-classifier")
            ),
            "mnist-gan-classifier-mlp",
            "mnist-gan-classifier-affine",
        ),
        "test accuracy",
        "higher",
        "label spreading by HOG, over 10,000 images without labels",
        partial(files_few_labels, "mnist", 10),
    ),
    SimpleMethod(
        "mnist-gradients",
        ("mnist-resnet8", "mnist-lenet5"),
        "test accuracy",
        "higher",
        "SVM on HOG of 10,000 images",
        partial(gradients_svm, "mnist"),
    ),
    SimpleMethod(
        "fashion-gradients",
        ("fashion-mnist-resnet8", "fashion-mnist-lenet5"),
        "test accuracy",
        "higher",
        "SVM on HOG of 10,000 images",
        partial(gradients_svm, "fashion_mnist"),
    ),
    SimpleMethod(
        "cifar10-gradients",
        ("cifar10-vgg9", "cifar10-five-minutes"),
        "test accuracy",
        "higher",
        "SVM on HOG of 10,000 images",
        partial(gradients_svm, "cifar10"),
    ),
    SimpleMethod(
        "mnist-few-images",
        tuple(f"mnist-fine-tuning{name}" for name in ("", "-head", "-scratch")),
        "test accuracy",
        "higher",
        "k-NN or SVM on raw pixels, with copies shifted by a pixel",
        mnist_few_images,
        seeds=(0, 1, 2),
    ),
    SimpleMethod(
        "mnist-class-gaussians",
        ("split-mnist",),
        "accuracy, class-incremental, replay",
        "higher",
        "one Gaussian a class, which no later class changes",
        partial(one_gaussian_a_class, "mnist"),
    ),
    SimpleMethod(
        "omniglot-lda",
        ("omniglot-few-shot", "omniglot-few-shot-64"),
        "test accuracy",
        "higher",
        "nearest example in an LDA of HOG and pixels of the normalized drawing",
        omniglot,
    ),
    SimpleMethod(
        "fashion-label-spreading-250",
        ("fashion-fixmatch-250",),
        "test accuracy",
        "higher",
        "label spreading by HOG, over 10,000 images without labels",
        partial(files_few_labels, "fashion_mnist", 25),
    ),
    SimpleMethod(
        "fashion-label-spreading-1000",
        ("fashion-fixmatch-1000",),
        "test accuracy",
        "higher",
        "label spreading by HOG, over 10,000 images without labels",
        partial(files_few_labels, "fashion_mnist", 100),
    ),
]
