"""Lesson 2: one template a class.

The linear classifier, and the checks that come before any training: the loss at chance, the gradient, the learning
rate. Then what it learnt, as images, and features that are better than pixels.
"""

# %% [markdown]
# ## Scores, a loss, a gradient
#
# A linear classifier gives each class a score, `s = W x + b`. Softmax turns scores into probabilities, and the loss is
# `-log p` of the right class. Both, and the gradient by hand, are a few lines in `dlcore/classic_ml/linear.py`.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

from dlcore.classic_ml import linear, linear_training
from dlcore.classical_vision.feature_classifier import choose_l2
from dlcore.diagnostics.gradient_check import check_gradient
from dlcore.diagnostics.triage import learning_rate_triage
from dlcore.report.figure import GRAY, GREEN, ORANGE, SKY, VERMILION
from experiments.classical_vision.features import extract
from experiments.tutorial.given import given, pixels, splits

flags = given()
data = splits(flags)
(images, labels), (new_images, new_labels) = pixels(data.train), pixels(data.valid)
rows, new_rows = (x.reshape(len(x), -1) for x in (images, new_images))
classes = len(data.class_names)
rng = np.random.default_rng(0)

# %% [markdown]
# ## First check: the loss at chance
#
# Before training all classes are equally likely, so that the softmax loss must be `log C`, and the multi-class hinge
# loss (a margin of 1 to each other class) `C - 1`. Another number means a bug, found without any training.

# %%
small = linear.Linear(1e-3 * rng.normal(size=(classes, rows.shape[1])).astype("float32"), np.zeros(classes, "float32"))
for loss, expected in (("softmax", np.log(classes)), ("hinge", classes - 1)):
    value = linear.objective(small, rows, labels, loss, l2=0.0)[0]
    print(f"{loss:8} {value:.4f}   expected {expected:.4f}")

# %% [markdown]
# And a penalty must raise it:

# %%
for l2 in (0.0, 1.0, 10.0, 100.0):
    print(f"l2 = {l2:5g}: {linear.objective(small, rows, labels, 'softmax', l2)[0]:.4f}")

# %% [markdown]
# ## Second check: the gradient
#
# A gradient written by hand is compared with slopes that are measured, `(f(w + h) - f(w - h)) / 2h`, in float64 and on
# few examples. A relative error of 1e-7 is a happy one; one above 1e-2 is a bug. Beside the right gradient stands one
# with the most common slip: the bias forgotten in the mean.

# %%
few, few_labels = rows[:20].astype("float64"), labels[:20]
at = linear.Linear(0.1 * rng.normal(size=(classes, rows.shape[1])), 0.1 * rng.normal(size=classes))


def by_hand(w):
    return linear.objective(w, few, few_labels, "softmax", l2=0.1)[1]


def with_a_slip(w):
    right = by_hand(w)
    return right._replace(bias=right.bias * len(few))


with jax.enable_x64(True):
    for name, gradient in (("by hand", by_hand), ("with a slip", with_a_slip)):
        checks = check_gradient(
            lambda w: linear.objective(w, few, few_labels, "softmax", l2=0.1)[0], at, samples=10, gradient=gradient
        )
        for check in checks:
            print(f"{name:12} {check.path:8} relative error {check.error:.1e}: {check.verdict}")

# %% [markdown]
# ## Third check: the learning rate
#
# Of all settings the learning rate matters most. Try it by powers of ten, for a short while, and look at the *shape* of
# the loss: flat is too low, up or not a number is too high, falling is good. `learning_rate_triage` says it in words.

# %%
colors = {"too low": SKY, "good": GREEN, "high": ORANGE, "too high": VERMILION, "unclear": GRAY}
steps = flags.pick(400, 40)
figure, ax = plt.subplots(figsize=(6.5, 3.4))
final = {}
for rate in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0):
    _, losses = linear_training.descend(rows, labels, num_classes=classes, learning_rate=rate, steps=steps)
    losses = np.asarray(losses)
    finding = learning_rate_triage(losses)
    if finding.kind == "good":
        final[rate] = losses[-20:].mean()
    print(f"{rate:7g}  {finding.kind:9} {finding.message}")
    smooth = losses.reshape(-1, 10).mean(1)
    ax.plot(np.arange(len(smooth)) * 10 + 5, np.minimum(smooth, 20), color=colors[finding.kind])
    ax.annotate(f"{rate:g}", (steps, min(smooth[-1], 20)), fontsize=8, va="center")
ax.set(yscale="log", xlabel="step", ylabel="training loss (20: or above)")
ax.grid(alpha=0.3)
plt.show()
rate = min(final, key=final.get) if final else 0.1
print(f"of the good ones, {rate:g} falls the furthest")

# %% [markdown]
# ## Train, and choose the penalty on validation

# %%
scores = {}
for l2 in (1e-5, 1e-4, 1e-3, 1e-2):
    model = linear_training.train(images, labels, l2=l2, learning_rate=rate, steps=flags.pick(2000, 40))
    on_train, on_valid = (
        float((linear_training.predict(model, x) == y).mean()) for x, y in ((images, labels), (new_images, new_labels))
    )
    scores[l2] = on_valid, model
    print(f"l2 = {l2:g}: train {on_train:.1%}, validation {on_valid:.1%}")
l2 = max(scores, key=lambda value: scores[value][0])
on_pixels, model = scores[l2]
print(f"chosen: l2 = {l2:g}, {on_pixels:.1%}")

# %% [markdown]
# ## The templates
#
# A row of W has a number for each pixel, so it is an image: what the class hopes for (red) and what speaks against it
# (blue). There is one a class, and it must serve all ways to write a 7.

# %%
templates = model.parameters.weights.reshape(classes, *images.shape[1:]).mean(-1)
figure, axes = plt.subplots(2, -(-classes // 2), figsize=(0.65 * classes, 3))
largest = np.abs(templates).max()
for ax, template, name in zip(axes.flat, templates, data.class_names, strict=False):
    ax.imshow(template, cmap="RdBu_r", vmin=-largest, vmax=largest)
    ax.set_title(name, fontsize=9)
for ax in axes.flat:
    ax.axis("off")
plt.show()

# %% [markdown]
# ## Features instead of pixels
#
# For twenty years the way forward was not a better classifier but a better description of the image: directions of
# edges (HOG), or which of some hundred small patches occur where ("visual words"). The classifier stays linear.

# %%
words, patches = flags.pick(100, 9), flags.pick(10_000, 300)
features, codebook = extract([images, new_images], 0, words, patches, 6)
accuracy = {}
for name, (x, new_x) in features.items():
    _, best, tried = choose_l2((x, labels), (new_x, new_labels), classes, (1e-3, 1e-2, 1e-1), steps=flags.pick(60, 5))
    accuracy[name] = tried[best]
    print(f"{name:14} {x.shape[1]:5} numbers an image, l2 = {best:g}: validation {tried[best]:.1%}")
best = max(accuracy, key=accuracy.get)
error = np.sqrt(accuracy[best] * (1 - accuracy[best]) / len(new_labels))
print(f"{best}: {accuracy[best] - accuracy['pixels']:+.1%} against pixels (standard error of either: {error:.1%})")

# %% [markdown]
# The features were found by people. From the next lesson on, they are learnt.
#
# **To try:** `loss="hinge"` in `linear_training.train` (with a lower rate); start W at 1 instead of 0.001 and look at
# the first check again.
