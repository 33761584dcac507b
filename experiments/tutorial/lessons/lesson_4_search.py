"""Lesson 4: search for settings, coarse first, then fine.

What to try is drawn at random, by factors where a setting acts by factors. Short runs over wide ranges tell where
anything learns, longer ones look there, and a best trial at the edge of its range is a warning.
"""

# %% [markdown]
# ## A trial, and many at once
#
# A trial is a run with its own learning rate, weight decay and dropout, judged on validation. The three are numbers
# that the program may get as arguments, so all trials of a stage run side by side in one program, by `vmap`.

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from dlcore.report.figure import GRAY, VERMILION
from dlcore.search import LogUniform, Uniform, edges, narrow, random
from experiments.studies.small_runs import SmallNet, log_loss_and_accuracy, train
from experiments.tutorial.given import given, pixels, splits

flags = given()
data = splits(flags)
(images, labels), (new_images, new_labels) = pixels(data.train), pixels(data.valid)
batch_size, net = 50, SmallNet((64,))
epoch = -(-len(images) // batch_size)


@functools.partial(jax.jit, static_argnames="steps")
def accuracies(trials, seed, steps):
    """On validation, [trials], after that many steps. trials: {name: [trials]}; all have the same initial weights."""
    x, y = jnp.asarray(images), jnp.asarray(labels)

    def one(trial):
        optimizer = optax.chain(optax.add_decayed_weights(trial["decay"]), optax.sgd(trial["rate"], 0.9))
        key = jax.random.key(seed)
        variables, _ = train(key, net, optimizer, x, y, steps, batch_size=batch_size, dropout_rate=trial["dropout"])
        logits = net.apply(jax.tree.map(lambda leaf: leaf[0], variables), jnp.asarray(new_images), False)
        return log_loss_and_accuracy(jax.nn.log_softmax(logits), jnp.asarray(new_labels))[1]

    return jax.vmap(one)(trials)


def stage(space, trials, epochs, seed):
    """(the trials, their accuracies): random draws from a space."""
    trials_drawn = random(space, trials, seed)
    by_name = {name: np.array([trial[name] for trial in trials_drawn], "float32") for name in space}
    return trials_drawn, np.asarray(accuracies(by_name, seed, epochs * epoch), "float64")


def tell(trials_drawn, scores, count=5):
    """Print the best trials."""
    for i in np.argsort(-scores)[:count]:
        print(f"{scores[i]:.1%}  " + ", ".join(f"{name} {value:.2g}" for name, value in trials_drawn[i].items()))


# %% [markdown]
# ## Why at random
#
# With nine runs a grid of three by three tries *three* rates. Nine random draws try nine. Usually one or two settings
# matter and nobody knows in advance which, so that draws are worth more. They are uniform in the *logarithm* of the
# rate: 0.001 to 0.01 deserves as many trials as 0.1 to 1.
#
# ## A range that is too narrow
#
# Suppose we believed that good rates lie below 0.003:

# %%
timid = {"rate": LogUniform(1e-6, 3e-3), "decay": LogUniform(1e-7, 1.0), "dropout": Uniform(0.0, 0.5)}
trials, short, long = flags.pick((32, 2, 15), (6, 1, 1))
trials_drawn, scores = stage(timid, trials, short, seed=0)
tell(trials_drawn, scores)
print("at an edge:", "; ".join(edges(timid, trials_drawn[scores.argmax()])) or "nothing")

# %% [markdown]
# Where the best lies at the end of what was tried, a better one may lie outside. That is why every search should end by
# asking `edges`. (It looks at the last 5 % of a range. Look at the list too: do the best *lean* to one side?)
#
# ## Coarse
#
# The rate is 10 to the power of a number between -6 and 1, which is wide enough for most things. Two epochs a trial:

# %%
space_wide = timid | {"rate": LogUniform(1e-6, 10.0)}
coarse, coarse_scores = stage(space_wide, trials, short, seed=1)
tell(coarse, coarse_scores)
print("at an edge:", "; ".join(edges(space_wide, coarse[coarse_scores.argmax()])) or "nothing")
print(f"above 90 %: {(coarse_scores > 0.9).mean():.0%} of the trials")

# %% [markdown]
# ## Fine
#
# `narrow` keeps, on each axis, what the best quarter spans. There longer runs are worth their price.

# %%
finer = narrow(space_wide, coarse, coarse_scores)
for name, axis in finer.items():
    print(f"{name:8} {space_wide[name].low:.2g} to {space_wide[name].high:.2g}  ->  {axis.low:.2g} to {axis.high:.2g}")
fine, fine_scores = stage(finer, trials // 2, long, seed=2)
tell(fine, fine_scores)
best = fine[fine_scores.argmax()]
print("at an edge:", "; ".join(edges(finer, best)) or "nothing")
print(f"above 90 %: {(fine_scores > 0.9).mean():.0%} of the trials")

# %% [markdown]
# Which settings mattered? Each dot is a trial; a setting that matters shows a shape.

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3), sharey=True)
for ax, name in zip(axes, space_wide, strict=True):
    for points, values, color, label in (
        (coarse, coarse_scores, GRAY, f"{short} epochs"),
        (fine, fine_scores, VERMILION, f"{long} epochs"),
    ):
        ax.plot([trial[name] for trial in points], 100 * values, "o", color=color, ms=5, alpha=0.8, label=label)
    ax.set(xlabel=name, xscale="linear" if isinstance(space_wide[name], Uniform) else "log")
    ax.grid(alpha=0.3)
axes[0].set(ylabel="validation accuracy, %")
axes[0].legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## How much of the best is luck?
#
# The best of many trials is chosen *because* its number is high, and part of that is chance. Run it again with other
# seeds before you believe it:

# %%
again = {name: np.float32([value]) for name, value in best.items()}
seeds = [float(accuracies(again, seed, long * epoch)[0]) for seed in range(10, flags.pick(15, 12))]
print(f"in the search {fine_scores.max():.1%}; with {len(seeds)} new seeds {np.mean(seeds):.1%} on the mean, ", end="")
print(f"from {min(seeds):.1%} to {max(seeds):.1%}")

# %% [markdown]
# **To try:** `latin_hypercube` or `sobol` in place of `random`; a deeper net, `SmallNet((64, 64))`; a range of yours.
