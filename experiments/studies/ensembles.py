"""Several networks are better than one: independent members, snapshots of one run, and the average of its weights.

python -m experiments.studies.ensembles
python -m experiments.studies.ensembles --own_digits=false

On the digits with small perceptrons, for several seeds: (1) members that differ in weights, batches and (by default)
the 300 digits that they learn from, their averaged predictions against the mean and the best member; (2) snapshots at
the ends of the cosine cycles of one run against its last state; (3) the average of the weights along a run at a
constant learning rate (SWA, with batch statistics recomputed) against the last weights.

References: Huang et al. 2017, arXiv:1704.00109 (snapshots); Izmailov et al. 2018, arXiv:1803.05407 (SWA).

Measured over three seeds: the log loss of the ensemble is never above its members' mean, as it must be. Its accuracy is
above the mean member's (92.3 % against 90.7 %; 91.8 % against 91.7 % on the same digits), but above the best one's on
one seed only (on none on the same digits). Five snapshots are as good as the last, 93.3 and 93.4 %. SWA has 93.9 %, the
last weights 91.7 %.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.classification.ensemble import ensemble_log_probabilities
from dlcore.data.augment import random_affine
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.optim import recompute_batch_stats, schedules, swa_params, track_swa
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from experiments.studies.small_runs import SmallNet, log_loss_and_accuracy, shuffled_digits, train

EXAMPLES = 300
VIEWS = 8  # augmented passes over the examples for the batch statistics of averaged weights


def moved(key, image):
    return random_affine(degrees=15, translate=0.125, scale=(0.85, 1.15), shear=10)(key, image)


def independent(key, data, num_members, steps, own_digits=True):
    """Train members: log loss and accuracy on the test digits of each [members, 2] and of all together [2]."""
    net = SmallNet()

    def logits(member):
        rows = jax.random.permutation(jax.random.fold_in(member if own_digits else key, 7), len(data.labels))[:EXAMPLES]
        images, labels = jnp.asarray(data.images)[rows], jnp.asarray(data.labels)[rows]
        learning_rate = optax.cosine_decay_schedule(3e-3, steps)
        variables, _ = train(member, net, optax.adam(learning_rate), images, labels, steps, batch_size=32)
        return net.apply(jax.tree.map(lambda v: v[0], variables), jnp.asarray(data.test_images), False)

    return together(jax.vmap(logits)(jax.random.split(key, num_members)), data.test_labels)


def snapshots(key, data, num_cycles, steps):
    """Train one run of cosine cycles: the same of its snapshots [cycles, 2]."""
    net = SmallNet()
    images, labels = jnp.asarray(data.images[:EXAMPLES]), jnp.asarray(data.labels[:EXAMPLES])
    learning_rate = schedules.cosine_restarts(0.05, steps // num_cycles)
    variables, _ = train(
        key,
        net,
        optax.sgd(learning_rate, momentum=0.9),
        images,
        labels,
        steps,
        batch_size=32,
        snapshots=num_cycles,
        augment=moved,
    )
    test = jnp.asarray(data.test_images)
    return together(jax.vmap(lambda v: net.apply(v, test, False))(variables), data.test_labels)


def together(logits, labels):
    labels = jnp.asarray(labels)
    each = jax.vmap(lambda s: log_loss_and_accuracy(jax.nn.log_softmax(s), labels))(logits)
    return each, log_loss_and_accuracy(ensemble_log_probabilities(logits), labels)


def averaged(key, data, steps):
    """Train at a constant learning rate: log loss and accuracy [3, 2].

    They are of the last weights, and of their average with recomputed and with stale batch statistics.
    """
    net = SmallNet(batch_norm=True)
    images, labels = jnp.asarray(data.images[:EXAMPLES]), jnp.asarray(data.labels[:EXAMPLES])
    optimizer = optax.chain(optax.sgd(0.2, momentum=0.9), track_swa(steps // 2, every=max(1, steps // 100)))
    variables, opt_state = train(key, net, optimizer, images, labels, steps, batch_size=32, augment=moved)
    variables, opt_state = (jax.tree.map(lambda v: v[0], tree) for tree in (variables, opt_state))
    mean = swa_params(opt_state, variables["params"])

    def forward(stats, batch):
        rngs = {"dropout": jax.random.key(0)}
        tree = {"params": mean, "batch_stats": stats}
        return net.apply(tree, batch, True, rngs=rngs, mutable=["batch_stats"])[1]["batch_stats"]

    views = jax.vmap(jax.vmap(moved, (0, 0)), (0, None))(jax.random.split(key, (VIEWS, EXAMPLES)), images)
    stats = recompute_batch_stats(forward, variables["batch_stats"], list(views))

    def score(tree):
        return log_loss_and_accuracy(
            jax.nn.log_softmax(net.apply(tree, jnp.asarray(data.test_images), False)), jnp.asarray(data.test_labels)
        )

    stale = {"params": mean, "batch_stats": variables["batch_stats"]}
    return jnp.stack([score(variables), score({"params": mean, "batch_stats": stats}), score(stale)])


def judge(members, ensemble, shots, snapshot_ensemble, swa) -> tuple[str, bool]:
    """Judge (log loss, accuracy) [seeds, K, 2] and [seeds, 2] of either ensemble, and [seeds, 3, 2] of SWA."""
    jensen = bool((ensemble[:, 0] <= members[..., 0].mean(1) + 1e-6).all())
    above_mean = bool((ensemble[:, 1] >= members[..., 1].mean(1)).all())
    above_best = int((ensemble[:, 1] > members[..., 1].max(1)).sum())
    last = int((snapshot_ensemble[:, 1] >= shots[:, -1, 1]).sum())
    better = int((swa[:, 1, 1] >= swa[:, 0, 1]).sum())
    num_seeds = len(members)
    verdict = (
        f"{members.shape[1]} members: {members[..., 1].mean():.1%} each, {members[..., 1].max(1).mean():.1%} the best, "
        f"{ensemble[:, 1].mean():.1%} together (above the best on {above_best} of {num_seeds} seeds); log loss "
        f"{members[..., 0].mean():.3f} to {ensemble[:, 0].mean():.3f}, {'never' if jensen else 'NOT never'} above the "
        f"members' mean. {shots.shape[1]} snapshots: {shots[:, -1, 1].mean():.1%} the last, "
        f"{snapshot_ensemble[:, 1].mean():.1%} together (no worse on {last} of {num_seeds}). SWA: "
        f"{swa[:, 0, 1].mean():.1%} the last weights, {swa[:, 1, 1].mean():.1%} their average (no worse on {better} of "
        f"{num_seeds}; {swa[:, 2, 1].mean():.1%} with the last weights' batch statistics)."
    )
    return verdict, jensen and above_mean and above_best == last == better == num_seeds


def study(
    *,
    num_seeds: PositiveInt = 3,
    num_members: PositiveInt = 8,
    num_cycles: PositiveInt = 5,
    steps: PositiveInt = 2000,
    own_digits: bool = True,
) -> StudyResult:
    """Compare members, snapshots and averaged weights with single networks.

    Args:
      num_seeds: repetitions of all three comparisons.
      num_members: networks of an ensemble.
      num_cycles: cosine cycles of the run that snapshots are taken from.
      own_digits: each member learns 300 digits of its own; false: all learn the same and differ in weights and
        batches.
    """
    data = shuffled_digits()
    keys = jax.random.split(jax.random.key(0), num_seeds)
    length = steps // num_cycles * num_cycles

    @jax.jit
    @jax.vmap
    def run(key):
        parts = jax.random.split(key, 3)
        return (
            independent(parts[0], data, num_members, steps, own_digits),
            snapshots(parts[1], data, num_cycles, length),
            averaged(parts[2], data, steps),
        )

    (each, all_), (shots, joined), swa = jax.tree.map(lambda x: np.asarray(x, np.float64), run(keys))
    verdict, holds = judge(each, all_, shots, joined, swa)
    numbers = {
        "members: mean accuracy": each[..., 1].mean(1).tolist(),
        "members: best accuracy": each[..., 1].max(1).tolist(),
        "ensemble: accuracy": all_[:, 1].tolist(),
        "members: mean log loss": each[..., 0].mean(1).tolist(),
        "ensemble: log loss": all_[:, 0].tolist(),
        "snapshots: accuracy by cycle": shots[..., 1].mean(0).tolist(),
        "snapshot ensemble: accuracy": joined[:, 1].tolist(),
        "last weights: accuracy": swa[:, 0, 1].tolist(),
        "SWA: accuracy": swa[:, 1, 1].tolist(),
        "SWA, stale batch statistics: accuracy": swa[:, 2, 1].tolist(),
        "last weights, SWA: log loss": swa[:, :2, 0].mean(0).tolist(),
    }
    headline = Headline("test accuracy gained over the mean member", all_[:, 1] - each[..., 1].mean(1), "digits")
    return StudyResult(numbers, verdict, {"ensembles": draw(each, all_, shots, joined, swa)}, holds, headline)


def draw(each, all_, shots, joined, swa):
    blue, orange = BLUE, VERMILION
    figure, panels = new_figure((10, 3.2), 1, 3, sharey=True)
    for axes, single, whole, title in (
        (panels[0], each, all_, f"{each.shape[1]} independent members"),
        (panels[1], shots, joined, f"{shots.shape[1]} snapshots of one run"),
    ):
        for seed in range(len(single)):
            spread = np.linspace(-0.2, 0.2, single.shape[1])
            axes.plot(
                seed + spread, 100 * single[seed, :, 1], "o", color=blue, alpha=0.6, label=None if seed else "one"
            )
            axes.plot(
                [seed - 0.3, seed + 0.3],
                [100 * whole[seed, 1]] * 2,
                color=orange,
                linewidth=2.5,
                label=None if seed else "together",
            )
        axes.set_title(title, fontsize=10)
    for column, (name, color) in enumerate(
        (("last weights", blue), ("averaged weights", orange), ("stale statistics", GRAY))
    ):
        panels[2].plot(np.arange(len(swa)) + (column - 1) * 0.2, 100 * swa[:, column, 1], "o", color=color, label=name)
    panels[2].set_title("weights averaged along a run", fontsize=10)
    panels[0].set_ylabel("test accuracy, %")
    for axes in panels:
        axes.set_xticks(range(len(each)), [f"seed {seed}" for seed in range(len(each))])
        axes.legend(frameon=False, fontsize=8)
        axes.grid(axis="y", alpha=0.25)
    return figure


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 2, "num_members": 2, "num_cycles": 2, "steps": 4})

if __name__ == "__main__":
    main(experiment)
