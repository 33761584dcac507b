"""Lesson 3: a network of two layers, by hand and by dlcore.

The checks again, now that there is something to get wrong: the initial loss, the penalty, twenty examples by heart.
Then a learning rate from one short run, and a look at the curves.
"""

# %% [markdown]
# ## A kink between two matrices
#
# `s = W2 max(0, W1 x + b1) + b2`. Without the `max` the two matrices would be one. The gradient goes backwards through
# the same steps; in `dlcore/classic_ml/mlp.py` it is eight lines.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

from dlcore.classic_ml import mlp
from dlcore.classification import supervised
from dlcore.data.pipeline import Pipeline, batch_at, steps_per_epoch
from dlcore.diagnostics.gradient_check import check_gradient
from dlcore.diagnostics.lr_range import lr_range_test, read_range_test
from dlcore.diagnostics.triage import triage
from dlcore.models import create_model
from dlcore.report.figure import BLUE, VERMILION
from dlcore.run import evaluate, fit
from experiments.tutorial.given import given, pixels, splits

flags = given()
data = splits(flags)
(images, labels), (new_images, new_labels) = pixels(data.train), pixels(data.valid)
rows, classes, hidden = images.reshape(len(images), -1), len(data.class_names), 100
sizes = (rows.shape[1], hidden, classes)
print("layers of", " -> ".join(map(str, sizes)), "with", mlp.count(sizes).parameters, "parameters")

# %% [markdown]
# ## The initial loss
#
# Weights of variance 2 / inputs keep the size of the signal from layer to layer. In the *last* layer that is not what
# one wants: scores of unit size are opinions, and opinions before any training are wrong. With a small last layer the
# loss starts at `log C`. The models of dlcore start theirs at zero.

# %%
layers = mlp.initialize(sizes, seed=0)
quiet = (layers[0], layers[1]._replace(weights=0.01 * layers[1].weights))
for name, start in (("variance 2 / inputs", layers), ("last layer times 0.01", quiet)):
    print(f"{name:22} loss {mlp.gradients(start, rows, labels)[0]:.4f}")
print(f"{'log C':22}      {np.log(classes):.4f}")

# %% [markdown]
# ## The gradient, and the penalty
#
# ReLU has a kink at 0, and a measured slope that steps across it is wrong though the gradient is right. So: few
# examples, float64, and a coordinate whose step crosses a kink is measured on the other side of it.

# %%
few, few_labels = rows[:10].astype("float64"), labels[:10]
with jax.enable_x64(True):
    checks = check_gradient(
        lambda layers: mlp.gradients(layers, few, few_labels, l2=0.01)[0],
        mlp.initialize(sizes, 1, np.float64),
        samples=10,
        gradient=lambda layers: mlp.gradients(layers, few, few_labels, l2=0.01)[1],
    )
for check in checks:
    print(f"{check.path:10} relative error {check.error:.1e}, kinks crossed: {check.kinks}: {check.verdict}")
for l2 in (0.0, 0.01, 0.1, 1.0):
    print(f"l2 = {l2:4g}: loss {mlp.gradients(quiet, rows, labels, l2)[0]:.4f}")

# %% [markdown]
# ## Twenty examples by heart
#
# A network that cannot learn twenty examples by heart will not learn twenty thousand. Without a penalty the loss must
# go to about zero. If it does not, stop here and look for the bug.

# %%
tiny = mlp.train(images[:20], labels[:20], hidden=(hidden,), l2=0.0, batch_size=20, steps=flags.pick(300, 100))
right = (mlp.predict(tiny, images[:20]) == labels[:20]).mean()
print(f"20 examples: loss {tiny.losses[0]:.3f} -> {tiny.losses[-1]:.5f}, accuracy {right:.0%}")

# %% [markdown]
# ## The same network by dlcore
#
# From here on we use the library's parts: a model, an optimizer, a *learner* (four pure functions: init, update,
# evaluate, predict), a pipeline of batches, and `fit`. The first check needs no change.

# %%


def learner_at(rate, l2=1e-4):
    """Two layers trained by SGD with momentum; rate: a number or a schedule."""
    model = create_model("mlp", num_classes=classes, hidden=(hidden,))
    return supervised.learner(model=model, optimizer=optax.sgd(rate, momentum=0.9), l2=l2)


def first_state(learner):
    """Parameters and the optimizer's memory, before any step."""
    return learner.init(jax.random.key(0), batch)


pipeline = Pipeline(data.train, batch_size=flags.pick(64, 16))
batch = batch_at(pipeline, 0)
state = first_state(learner_at(0.1))
print(f"loss before training: {learner_at(0.1, l2=0.0).loss(state.params, state, batch)[0]:.4f}")
print(f"an epoch is {steps_per_epoch(len(data.train), pipeline.batch_size)} steps of {pipeline.batch_size} examples")

# %% [markdown]
# ## A learning rate from one short run
#
# Instead of a run for each rate: *one* short run whose rate grows from step to step. Where the loss falls fastest is a
# rate to start with; where it comes apart is too high.

# %%
count = flags.pick(200, 30)
batches = jax.tree.map(lambda *leaves: np.stack(leaves), *(batch_at(pipeline, step) for step in range(count)))
rates, losses = lr_range_test(
    lambda params, batch: learner_at(0.1).loss(params, state, batch)[0],
    state.params,
    batches,
    low=1e-5,
    high=10.0,
    optimizer=lambda rate: optax.sgd(rate, momentum=0.9),
)
test = read_range_test(rates, losses)
figure, ax = plt.subplots(figsize=(6, 3.2))
ax.plot(rates, np.minimum(losses, 10), color=BLUE, lw=1)
for rate, name, style in ((test.steepest, "steepest", ":"), (test.diverges, "diverges", "--")):
    if rate is not None:
        ax.axvline(rate, color="0.3", ls=style, label=f"{name}: {rate:.2g}")
ax.set(xscale="log", yscale="log", xlabel="learning rate of the step", ylabel="loss (10: or above)")
ax.legend(frameon=False)
ax.grid(alpha=0.3)
plt.show()

# %% [markdown]
# ## Train, and read the curves
#
# Four numbers are worth watching: the loss, the accuracy in training, that in validation, and (lesson 5) how large the
# updates are. `triage` reads the first three.

# %%
steps = flags.pick(600, 20)
learner = learner_at(test.steepest)
result = fit(
    learner,
    pipeline,
    steps=steps,
    valid=data.valid,
    log_every=max(steps // 60, 1),
    eval_every=max(steps // 30, 1),
    progress=False,
)
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.2))
for ax, name in zip(axes, ("loss", "accuracy"), strict=True):
    for split, color in (("train", BLUE), ("valid", VERMILION)):
        curve = [(row["step"], row[name]) for row in result.history if row["split"] == split]
        ax.plot(*zip(*curve, strict=True), color=color, label=split)
    ax.set(xlabel="step", ylabel=name)
    ax.grid(alpha=0.3)
axes[0].set(yscale="log")
axes[1].legend(frameon=False)
plt.show()
for sentence in triage(result.history):
    print("-", sentence)

# %% [markdown]
# By hand and by the library it is the same network, so it should reach the same:

# %%
ours = mlp.train(
    images, labels, hidden=(hidden,), learning_rate=test.steepest, steps=steps, batch_size=pipeline.batch_size
)
by_hand = (mlp.predict(ours, new_images) == new_labels).mean()
numbers = evaluate(learner, result.state, data.valid)
error = np.sqrt(by_hand * (1 - by_hand) / len(new_labels))
print(f"validation: by hand {by_hand:.1%}, by dlcore {numbers['accuracy']:.1%} (standard error {error:.1%})")

# %% [markdown]
# **To try:** a rate ten times the one found, and one a tenth of it; what does `triage` say? `hidden = 10` and 1000.
