"""Lesson 5: a convolutional network, one improvement at a time.

Start with the plainest network that could work, add one thing, measure what it gained, keep what helped. And look at
the curves and the updates, not only at the last number.
"""

# %% [markdown]
# ## The plainest network that could work
#
# A convolution looks for the same small pattern everywhere. Three of them, each on half the resolution and with twice
# the channels of the one before, then an average over what is left of the image, and a linear classifier.

# %%
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlcore.classification import supervised
from dlcore.data.augment import channel_statistics, random_affine, random_shift
from dlcore.data.pipeline import Pipeline, batch_at
from dlcore.diagnostics.monitor import update_ratios
from dlcore.diagnostics.triage import triage
from dlcore.models import create_model
from dlcore.nn import BatchNorm, Conv
from dlcore.optim import create_optimizer, create_schedule
from dlcore.report.figure import BLUE, GREEN
from dlcore.run import evaluate, fit
from experiments.tutorial.given import given, remember_programs, splits

flags = given()
remember_programs()
data = splits(flags)
classes, side = len(data.class_names), data.image_shape[0]
steps, batch_size, seeds = flags.pick((600, 64, 2), (4, 16, 1))


class ConvNet(nn.Module):
    """Three convolutions; norm: with batch norm between a convolution and its ReLU."""

    width: int = 16
    norm: bool = False

    @nn.compact
    def __call__(self, x, train: bool = False):
        for i in range(3):
            x = Conv(self.width * 2**i, (3, 3), strides=1 if i == 0 else 2, name=f"conv{i + 1}")(x)
            x = nn.relu(BatchNorm(not train, name=f"norm{i + 1}")(x) if self.norm else x)
        return nn.Dense(classes, kernel_init=nn.initializers.zeros, name="head")(x.mean((1, 2)))


# %% [markdown]
# ## What is held fixed
#
# One optimizer (AdamW, a short warm-up and then a cosine down to zero), one number of steps, the same batches. If two
# things change between two runs, nobody knows which of them helped. Each run is repeated with another seed, because
# one run says little (lesson 4).

# %%
mean, std = channel_statistics(data.train)


def as_they_are(images):
    """In [0, 1]."""
    return images / 255 if images.dtype == jnp.uint8 else images


def scaled(images):
    """Each channel with mean 0 and deviation 1 over the training images."""
    return (as_they_are(images) - mean) / std


def learner_of(model, preprocess=as_they_are, augment=None, rate=3e-3):
    """A run of `steps` updates."""
    schedule = create_schedule("cosine", rate, steps, round(0.1 * steps))
    optimizer = create_optimizer("adamw", schedule, weight_decay=0.05)
    return supervised.learner(model=model, optimizer=optimizer, preprocess=preprocess, augment=augment)


def trained(learner, seed=0, hooks=()):
    """The result of `fit`: the last state, and the history of the loss and the accuracies."""
    return fit(
        learner,
        Pipeline(data.train, batch_size, seed=seed),
        steps=steps,
        seed=seed,
        valid=data.valid,
        hooks=hooks,
        log_every=max(steps // 40, 1),
        eval_every=max(steps // 10, 1),
        progress=False,
    )


# %% [markdown]
# ## One thing at a time
#
# What may help, in the order in which it is tried:
#
# - **scale**: inputs with mean 0 and deviation 1;
# - **batch norm** after each convolution;
# - **augmentation**: each time an image is seen it is turned, sheared, scaled and moved a little. Only so far that it
#   stays of its class: a digit is not mirrored;
# - **residual**: ResNet-8, three pairs of convolutions with shortcuts around them (and batch norm).
#
# Each is tried on top of what was kept, and kept if the mean validation *loss* is lower: it is finer than the accuracy,
# which counts whole images.

# %%


def moved(key, image):
    """Random movements. What comes in from outside is black, which the scaling has made `black`."""
    black = -mean / std
    move = random_affine(degrees=10, translate=0.06, scale=(0.9, 1.1), shear=8)
    move = move if flags.dataset in ("digits", "mnist") else random_shift(max(side // 16, 1))
    return move(key, image - black) + black


additions = {
    "convolutions": {"model": ConvNet()},
    "+ scale": {"preprocess": scaled},
    "+ batch norm": {"model": ConvNet(norm=True)},
    "+ augmentation": {"augment": moved},
    "+ residual": {"model": create_model("resnet8_cifar", num_classes=classes)},
}
settings, winner, rows, runs = {}, None, {}, {}
for name, addition in additions.items():
    learner, began = learner_of(**(settings | addition)), time.perf_counter()
    runs[name] = [trained(learner, seed) for seed in range(seeds)]
    measured = [evaluate(learner, run.state, data.valid) for run in runs[name]]
    rows[name] = {key: np.mean([numbers[key] for numbers in measured]) for key in ("accuracy", "loss")}
    better = winner is None or rows[name]["loss"] < rows[winner]["loss"]
    if better:
        settings, winner = settings | addition, name
    line = f"accuracy {rows[name]['accuracy']:.1%}, loss {rows[name]['loss']:.4f}, {time.perf_counter() - began:3.0f} s"
    print(f"{name:15} {line}: {'kept' if better else 'not kept'}")
accuracy = rows[winner]["accuracy"]
error = np.sqrt(accuracy * (1 - accuracy) / len(data.valid))
print(f"the last that was kept is {winner!r}; the standard error of its accuracy is {error:.1%}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
left.barh(list(rows), [row["loss"] for row in rows.values()], color=BLUE)
left.invert_yaxis()
left.set(xlabel=f"validation loss, mean of {seeds} runs")
for name, seed_runs in runs.items():
    curve = [(row["step"], row["loss"]) for row in seed_runs[0].history if row["split"] == "train"]
    right.plot(*zip(*curve, strict=True), label=name)
right.set(yscale="log", xlabel="step", ylabel="training loss")
right.legend(frameon=False, fontsize=8)
right.grid(alpha=0.3)
figure.tight_layout()
plt.show()

# %% [markdown]
# Compare the two pictures: the order on the right is not that on the left. Augmentation makes training *harder*, and
# where a network knows its training examples by heart, that is what it needs.
#
# ## What the curves say
#
# In words, for the first network and for the one that was kept:

# %%
for name in ("convolutions", winner):
    print(name)
    for sentence in triage(runs[name][0].history):
        print("  -", sentence)

# %% [markdown]
# ## How large are the updates?
#
# The fourth thing to watch: by which share of itself does each layer change in a step? About 0.001 is healthy. Far
# above 1e-2 a layer is thrown about, below 1e-4 it stands still: then the rate is wrong, or the layer does not get its
# signal. A hook of `fit` is called as it logs, and looks.

# %%


class Ratios:
    """A hook that measures |change| / |weights| of each kernel for the update that one batch would make."""

    def __init__(self, learner):
        self.batch, self.seen = batch_at(Pipeline(data.train, batch_size), 0), {}
        self.ratios = jax.jit(lambda state, batch: update_ratios(state.params, learner.update(state, batch)[0].params))

    def __call__(self, step, state, metrics):
        for name, ratio in self.ratios(state, self.batch).items():
            if name.endswith("kernel"):
                self.seen.setdefault(name, []).append((step, float(ratio)))


watched = {}
for rate in (3e-3, 3e-1):
    learner = learner_of(**(settings | {"model": ConvNet(norm=True), "rate": rate}))
    watched[rate] = Ratios(learner)
    trained(learner, hooks=(watched[rate],))
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True)
for ax, (rate, hook) in zip(axes, watched.items(), strict=True):
    ax.axhspan(1e-4, 1e-2, color=GREEN, alpha=0.12)
    for name, line in hook.seen.items():
        ax.plot(*np.transpose([(step, max(ratio, 1e-7)) for step, ratio in line]), label=name)
    ratios = [ratio for line in hook.seen.values() for _, ratio in line]
    inside = np.mean([1e-4 <= ratio <= 1e-2 for ratio in ratios])
    print(f"rate {rate:g}: median ratio {np.median(ratios):.1e}, {inside:.0%} between 1e-4 and 1e-2")
    ax.set(yscale="log", xlabel="step", title=f"learning rate {rate:g}")
    ax.grid(alpha=0.3)
axes[0].set(ylabel="|update| / |weights|")
axes[1].legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# At the end of a run the ratios fall, because the cosine takes the rate to zero.
#
# **To try:** leave out batch norm and raise the rate tenfold; a mirrored digit as augmentation; `ConvNet(width=64)`.
