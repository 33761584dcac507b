"""Lesson 6: the tuned network, retrained on everything, and the test set, once.

The experiment that the other lessons lead to, by its own parts. Validation chooses how long to train; three networks
learn from all but the test examples and average their answers. At last the test.
"""

# %% [markdown]
# ## From a lesson to an experiment
#
# The last lessons' steps together are an experiment of this repository, `experiments/classification/supervised.py`:
# ResNet-8 on images at twice their size, AdamW with warm-up and cosine, augmentation twice as strong as in lesson 5,
# label smoothing, and an average of the weights along the way (EMA). A deeper network does not pay in short runs on a
# thousand images, as lesson 5 shows; with more steps and stronger regularization it is the best that this repository
# has measured on these digits: 99.1 % after 150 epochs, the row `digits-resnet8` of `experiments/README.md`, by
#
#     python -m experiments.classification.supervised
#
# The experiment is made of functions, so that its learner can be built here, from flags as one would give them.

# %%
import matplotlib.pyplot as plt
import numpy as np

from dlcore.classic_ml import nearest_neighbor
from dlcore.classification.ensemble import ensemble_log_probabilities
from dlcore.data.augment import channel_statistics
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.diagnostics.triage import triage
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.metrics import Calibration
from dlcore.report.figure import BLUE, VERMILION
from dlcore.run import fit, predict
from experiments.classification.supervised import experiment
from experiments.tutorial.given import given, pixels, remember_programs, splits

options = given()
remember_programs()
data = splits(options)
flags = [f"--dataset={options.dataset}", *([f"--data_dir={options.data_dir}"] if options.data_dir else [])]
flags += options.pick(["--steps=360", "--batch_size=128"], ["--steps=5", "--batch_size=16", "--model.width=8"])
resolved = ResolvedRun(experiment, resolve(experiment, flags))
mean, std = channel_statistics(data.train)
spec = {
    "dataset": options.dataset,
    "class_names": list(data.class_names),
    "num_classes": len(data.class_names),
    "image_shape": list(data.image_shape),
    "mean": list(map(float, mean)),
    "std": list(map(float, std)),
    "train_size": len(data.train),
}
training = resolved.training(spec)
learner = training.build()
for name in ("model", "augment", "optimizer", "learning_rate", "schedule", "weight_decay", "label_smoothing", "ema"):
    print(f"{name:16} {resolved.flags[name]}")

# %% [markdown]
# ## How long?
#
# One run on the training part, measured on validation as it goes. The step of the lowest validation loss is kept.

# %%
interval = options.pick(30, 1)


def trained(source, seed, steps, **more):
    """The result of `fit` after that many of the steps of the schedule."""
    pipeline = Pipeline(source, resolved.flags.batch_size, seed=seed)
    return fit(learner, pipeline, steps=steps, seed=seed, log_every=max(interval // 3, 1), progress=False, **more)


first = trained(data.train, 0, training.steps, valid=data.valid, eval_every=interval)
measured = [row for row in first.history if row["split"] == "valid"]
best = min(measured, key=lambda row: row["loss"])
error = np.sqrt(best["accuracy"] * (1 - best["accuracy"]) / len(data.valid))
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.2))
for ax, name in zip(axes, ("loss", "accuracy"), strict=True):
    for split, color in (("train", BLUE), ("valid", VERMILION)):
        curve = [(row["step"], row[name]) for row in first.history if row["split"] == split]
        ax.plot(*zip(*curve, strict=True), color=color, label=split)
    ax.axvline(best["step"], color="0.5", ls=":")
    ax.set(xlabel="step", ylabel=name)
    ax.grid(alpha=0.3)
axes[1].legend(frameon=False)
plt.show()
for sentence in triage(first.history):
    print("-", sentence)
print(f"kept: step {best['step']} of {training.steps}, validation {best['accuracy']:.1%} (standard error {error:.1%})")

# %% [markdown]
# Two things look odd and are not. At first the training accuracy is *below* that in validation: training images are
# moved about, validation images are not. And the loss does not go to 0: label smoothing wants a little doubt.
#
# ## Once more, on everything
#
# The validation examples have done their work. Now they may be learnt from: the same settings, as many steps, more
# examples. Nothing is left to measure this with, so nothing may be changed any more. Three networks with other seeds
# make an ensemble: in log loss, the average of their probabilities is never worse than they are on the mean.

# %%
parts = (data.train.arrays, data.valid.arrays)
everything = Source({name: np.concatenate([part[name] for part in parts]) for name in ("image", "label")})
members = [trained(everything, seed, best["step"]).state for seed in range(options.pick(3, 2))]
print(f"{len(members)} networks, each {best['step']} steps on {len(everything)} examples")

# %% [markdown]
# ## The test set, once
#
# No choice follows from what this cell prints. If you change a setting because of it, it is no test any more. Beside
# the networks stands the first rule of all, the nearest neighbor by cosine, with as many examples to remember.

# %%
test_images, test_labels = pixels(data.test)
logits = np.stack([predict(learner, state, data.test)["logits"] for state in members])
log_p = np.asarray(ensemble_log_probabilities(logits))
for i, scores in enumerate(logits):
    print(f"network {i + 1}: {(scores.argmax(-1) == test_labels).mean():.2%}")
remembered = nearest_neighbor.train(*pixels(everything), metric="cosine")
print(f"nearest neighbor: {(nearest_neighbor.predict(remembered, test_images) == test_labels).mean():.2%}")
right = log_p.argmax(-1) == test_labels
error = np.sqrt(right.mean() * (1 - right.mean()) / len(right))
print(f"together:  {right.mean():.2%} of {len(right)} test images (standard error {error:.2%}), {(~right).sum()} wrong")
print(f"validation had promised {best['accuracy']:.2%}")

# %% [markdown]
# ## Does it know when it does not know?
#
# Of all answers with a confidence of 80 %, are 80 % right? The bars should lie on the line. Label smoothing and
# averaging both make a network more modest than it need be.

# %%
calibration = Calibration.of(log_p, test_labels, num_bins=10).compute()
figure, ax = plt.subplots(figsize=(3.8, 3.6))
edges, filled = calibration["bin_edges"], calibration["bin_count"] > 0
ax.bar(edges[:-1][filled], calibration["bin_accuracy"][filled], np.diff(edges)[filled], align="edge", ec="white")
ax.plot([0, 1], [0, 1], "--", color="0.3")
for low, count, height in zip(edges[:-1], calibration["bin_count"], calibration["bin_accuracy"], strict=True):
    if count:
        ax.annotate(str(count), (low + 0.05, height), ha="center", va="bottom", fontsize=8)
ax.set(xlabel="confidence", ylabel="share that is right", ylim=(0, 1.1))
plt.show()
print(f"right {right.mean():.1%} of the time, sure of {calibration['mean_confidence']:.1%} on the mean")
print(f"expected calibration error {calibration['ece']:.3f}")

# %% [markdown]
# ## The worst mistakes
#
# Look at them, always. Some are a wrong label, some nobody could read, and some show what the next project should be.

# %%
errors = np.flatnonzero(~right)
worst = errors[np.argsort(-log_p[errors].max(-1), kind="stable")][:10]
figure, axes = plt.subplots(1, max(len(worst), 2), figsize=(0.95 * max(len(worst), 2) + 0.4, 1.7))
for ax in axes:
    ax.axis("off")
for ax, i in zip(axes, worst, strict=False):
    ax.imshow(test_images[i].squeeze(), cmap="gray_r", vmin=0, vmax=1)
    predicted = data.class_names[log_p[i].argmax()]
    ax.set_title(f"{predicted}, {np.exp(log_p[i].max()):.0%}\nis {data.class_names[test_labels[i]]}", fontsize=8)
plt.show()

# %% [markdown]
# ## What you have now
#
# A recipe that holds for any data: look, part, the simplest thing first, the checks, one change at a time on
# validation, retrain, test once. The experiment does all of it by a command, with checkpoints and a report:
#
#     python -m experiments.classification.supervised --dataset=folder --data_dir=PATH
#
# **To try:** the same with your own images; `--model=resnet20_cifar`; the studies in `experiments/studies`, which ask
# one question each.
