"""Lesson 1: look at the data, part it, and remember it.

What the images are, three parts of which one is not touched, the nearest neighbor, and a choice made on validation.
"""

# %% [markdown]
# ## The data-driven approach
#
# Nobody can write down the rule that makes a 3 a 3. So we collect examples, let a program find a rule, and judge the
# rule on examples that it has not seen. Everything in these lessons is that, with better and better rules.
#
# Each lesson is a script: run it, change it, run it again. `--small` shows in seconds that it works, and
# `--dataset=fashion_mnist --data_dir=DIR` asks the same questions of other images.

# %%
import matplotlib.pyplot as plt
import numpy as np

from dlcore.classic_ml import nearest_neighbor
from dlcore.classic_ml.pixel_distance import equal_edits
from dlcore.data.carving import split_validation
from dlcore.data.source import Source
from dlcore.report.figure import BLUE, GREEN, VERMILION
from experiments.tutorial.given import given, pixels, splits

flags = given()
data = splits(flags)
(images, labels), (new_images, new_labels) = pixels(data.train), pixels(data.valid)
names = data.class_names
for part, source in (("train", data.train), ("validation", data.valid), ("test", data.test)):
    counts = np.bincount(source.arrays["label"], minlength=len(names))
    print(f"{part:10} {len(source):5} images, {counts.min()} to {counts.max()} of a class")
print(f"an image is {images.shape[1:]}, from {images.min():g} to {images.max():g}")

# %% [markdown]
# ## Look at it
#
# Ten minutes with the images save days with the model. Ask: could *you* tell the classes apart? Are labels wrong? What
# varies within a class, and would a mirrored or shifted image still be of it?

# %%
figure, axes = plt.subplots(len(names), 12, figsize=(7, 0.6 * len(names)))
for c, row in enumerate(axes):
    for ax, image in zip(row, images[labels == c], strict=False):
        ax.imshow(image.squeeze(), cmap="gray_r", vmin=0, vmax=1)
    for ax in row:
        ax.axis("off")
    row[0].set_title(names[c], x=-0.7, y=0.05, fontsize=9)
plt.show()

# %% [markdown]
# ## Three parts
#
# - **train**: the rule is fitted to it;
# - **validation**: settings are chosen on it;
# - **test**: looked at once, at the end of lesson 6. A setting chosen by the test fits the test, and its number then
#   says nothing about new images.
#
# ## The nearest neighbor
#
# The simplest rule: remember all images, and give a new one the label of the most similar. "Similar" is the distance
# between the pixels, here the sum of squared differences.

# %%


def nearest_label(image):
    """The label of the training image at the smallest L2 distance, and where that image is."""
    distance = np.square(images - image).sum((1, 2, 3))
    return labels[distance.argmin()], distance.argmin()


count = flags.pick(len(new_images), 40)
predictions = [nearest_label(image) for image in new_images[:count]]
errors = [i for i, (predicted, _) in enumerate(predictions) if predicted != new_labels[i]]
print(f"right on {1 - len(errors) / count:.1%} of {count} validation images; chance is {1 / len(names):.1%}")

# %% [markdown]
# Where it is wrong, look at what it took for the same (below: the new image, and under it its nearest).

# %%
examples = errors[:10] or [0]
figure, axes = plt.subplots(2, len(examples), figsize=(0.8 * len(examples) + 0.4, 2.1), squeeze=False)
for column, i in zip(axes.T, examples, strict=True):
    predicted, where = predictions[i]
    for ax, image, digit in ((column[0], new_images[i], new_labels[i]), (column[1], images[where], predicted)):
        ax.imshow(image.squeeze(), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(names[digit], fontsize=9, color=VERMILION if ax is column[1] else "black")
        ax.axis("off")
plt.show()

# %% [markdown]
# ## Choose k and the distance on validation
#
# Let the k nearest vote, and try other distances: L1 sums absolute differences, cosine ignores brightness. Neither k
# nor the distance can be learnt from the training part: there the nearest neighbor of an image is the image itself,
# and k = 1 is always perfect.

# %%
ks = [k for k in (1, 3, 5, 7, 10, 20, 50) if k <= len(images)]


def accuracies(train, valid, metric):
    """The accuracy on valid for each k."""
    model = nearest_neighbor.train(*train, metric=metric)
    return (nearest_neighbor.predict_for_each_k(model, valid[0], ks) == valid[1]).mean(1)


figure, ax = plt.subplots(figsize=(6, 3.2))
valid_accuracy = {}
for metric, color in (("l1", VERMILION), ("l2", BLUE), ("cosine", GREEN)):
    scores = accuracies((images, labels), (new_images, new_labels), metric)
    valid_accuracy |= {(metric, k): float(score) for k, score in zip(ks, scores, strict=True)}
    ax.plot(ks, 100 * scores, "o-", color=color, label=metric)
    print(f"{metric:7}", "  ".join(f"k={k}: {score:.1%}" for k, score in zip(ks, scores, strict=True)))
ax.set(xscale="log", xlabel="k", ylabel="validation accuracy, %")
ax.set_xticks(ks, ks)
ax.minorticks_off()
ax.legend(frameon=False)
ax.grid(alpha=0.3)
plt.show()

metric, k = max(valid_accuracy, key=valid_accuracy.get)
error = (valid_accuracy[metric, k] * (1 - valid_accuracy[metric, k]) / len(new_images)) ** 0.5
print(f"chosen: {metric}, k = {k}, {valid_accuracy[metric, k]:.1%} with a standard error of {error:.1%}")
close = [
    f"{m}, k = {n}"
    for (m, n), score in valid_accuracy.items()
    if score > valid_accuracy[metric, k] - error and (m, n) != (metric, k)
]
print(f"within one standard error of it: {'; '.join(close) or 'none'}")

# %% [markdown]
# The standard error says how far the number would move with other validation images. What lies within it is as good for
# all we know. Remember it in every later lesson.
#
# ## Which examples validate?
#
# The digits come writer after writer, and our validation part is the *last* quarter of the training examples: other
# people than those in training, as in the test. Had it been drawn at random, each writer would be on both sides:

# %%
if flags.dataset == "digits":
    everything = {"image": np.concatenate([images, new_images]), "label": np.concatenate([labels, new_labels])}
    a, b = split_validation(Source(everything), len(new_images) / len(everything["label"]), seed=0)
    for name in ("l1", "l2", "cosine"):
        at_random = accuracies(pixels(a), pixels(b), name)[ks.index(k)]
        print(f"{name:7} k = {k}: {valid_accuracy[name, k]:.1%} on new writers, {at_random:.1%} on a random split")
else:
    print("these images have no order by writer: the random split it is")

# %% [markdown]
# A validation set must differ from training in the way in which the test will. If it does not, it promises too much,
# and everything chosen by it is chosen for the wrong world.
#
# ## What pixels do not see
#
# Three pictures at the *same* L2 distance from the first: moved by a pixel, darkened, and with a patch in front.

# %%
original = images[int(np.flatnonzero(labels == min(8, len(names) - 1))[0])]
edits = {"original": original, **equal_edits(original)}
figure, axes = plt.subplots(1, len(edits), figsize=(1.7 * len(edits), 2))
for ax, (name, image) in zip(axes, edits.items(), strict=True):
    ax.imshow(np.squeeze(image), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(f"{name}\nL2 {np.linalg.norm(image - original):.2f}", fontsize=9)
    ax.axis("off")
plt.show()

# %% [markdown]
# For the nearest neighbor they are equally far; for us they are not. It also keeps all the data and compares with all
# of it for each answer. The next lesson keeps one template a class.
#
# **To try:** another class in the last cell; `--dataset=fashion_mnist`; your own distance as a function of two arrays,
# `nearest_neighbor.train(..., metric=your_function)`.
