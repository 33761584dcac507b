"""Chapter 18: how many labels are enough.

Prototypes from a few examples of each class, and labels that spread to their neighbors.
"""

# %% [markdown]
# ## Prototypes
#
# The mean of the few labeled images of a class is its prototype; a new image gets the class of the nearest one.

# %%
import matplotlib.pyplot as plt
import numpy as np

from dlcore.data.digits import digits

train, test = digits("train").arrays, digits("test").arrays
x, y = train["image"].reshape(-1, 64), train["label"]
new, new_labels = test["image"].reshape(-1, 64), test["label"]


def choose(shots, seed):
    """Rows of `shots` labeled examples of each class."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(y == digit))[:shots] for digit in range(10)])


def squared_distances(a, b):
    return ((a[:, None] - b) ** 2).sum(-1)


def prototype_accuracy(images, labels):
    means = np.stack([images[labels == digit].mean(0) for digit in range(10)])
    return (squared_distances(new, means).argmin(1) == new_labels).mean()


shots = (1, 2, 5, 10, 20)
few = [[prototype_accuracy(x[r], y[r]) for r in (choose(k, seed) for seed in range(20))] for k in shots]
for k, values in zip(shots, few, strict=True):
    print(f"{k:2} of a class: {np.mean(values):.1%} ± {np.std(values):.1%} over 20 draws")

# %% [markdown]
# ## Pseudo-labels
#
# Classify the unlabeled images by the prototypes, keep the most certain half, and take the means again. Report the
# spread over draws: with one label a class, luck decides more than the method.


# %%
def with_pseudo_labels(rows, rounds=5):
    images, labels = x[rows], y[rows]
    for _ in range(rounds):
        means = np.stack([images[labels == digit].mean(0) for digit in range(10)])
        distance = squared_distances(x, means)
        pseudo_label = distance.argmin(1)
        nearest, second = np.sort(distance, axis=1)[:, :2].T
        margin = second - nearest
        certain = margin > np.median(margin)
        images = np.concatenate([x[rows], x[certain]])
        labels = np.concatenate([y[rows], pseudo_label[certain]])
    return prototype_accuracy(images, labels)


many = [[with_pseudo_labels(choose(k, seed)) for seed in range(20)] for k in shots]
for values, name in ((few, "labels alone"), (many, "with pseudo-labels")):
    plt.errorbar(shots, np.mean(values, 1), np.std(values, 1), marker="o", capsize=3, label=name)
plt.xlabel("labeled images of a class")
plt.ylabel("test accuracy")
plt.legend()
plt.show()
for k, before, after in zip(shots, few, many, strict=True):
    print(f"{k:2} of a class: {np.mean(after) - np.mean(before):+.1%}")

# %% [markdown]
# Pseudo-labels help with one or two labels a class and hurt from five on. The labels are then good enough, and the
# certain half of the images is no fair sample of a class: its mean is not the mean of all. Report such a curve, not its
# best point.
