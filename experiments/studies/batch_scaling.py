"""N times the batch, N times the learning rate: does a large batch need it, and can both grow along the run?

python -m experiments.studies.batch_scaling

Perceptrons on digits, by SGD with momentum, all for the same number of examples: a small batch; a batch eight times as
large at the same learning rate, and at eight times the learning rate after a warm-up; and a ramp that doubles both
three times. The learning rates are read from the optimizer's state. The claim holds where scaling ends lower than not
scaling on every seed, and the ramp ends no higher than twice the small batch's loss.

References: Goyal et al. 2017, arXiv:1706.02677 (linear scaling with warm-up); Smith et al. 2017, arXiv:1711.00489 (the
batch grows instead of the learning rate's decay).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.optim import batch_ramp, linear_scaling
from dlcore.optim.schedules import warm_up
from dlcore.report.figure import BLUE, GREEN, ORANGE, VERMILION, new_figure, seed_dots
from experiments.studies.small_runs import SmallNet, log_loss_and_accuracy, shuffled_digits

NAMES = ("small batch", "large batch, same rate", "large batch, scaled rate", "ramp")


def plans(learning_rate: float, batch_size: int, factor: int, num_examples: int) -> dict[str, list]:
    """Plan each way to draw `num_examples` examples: [(steps, batch size, schedule), ...]."""
    large = batch_size * factor
    steps = num_examples // large
    scaled = linear_scaling(learning_rate, large, batch_size)
    sizes = [batch_size * 2**i for i in range(int(np.log2(factor)) + 1)]
    phases = batch_ramp(learning_rate, sizes, [num_examples // len(sizes) // size for size in sizes])
    return {
        "small batch": [(num_examples // batch_size, batch_size, optax.constant_schedule(learning_rate))],
        "large batch, same rate": [(steps, large, optax.constant_schedule(learning_rate))],
        "large batch, scaled rate": [
            (steps, large, warm_up(optax.constant_schedule(scaled), max(1, steps // 10), scaled))
        ],
        "ramp": [(count, size, optax.constant_schedule(value)) for count, size, value in phases],
    }


def run(plan, net: nn.Module, images, labels, key):
    """Run the phases of a plan, momentum carried over: (variables, learning rates [steps], batch sizes [steps])."""
    params = net.init(jax.random.fold_in(key, 0), images[:2], False)["params"]
    trace, learning_rates, sizes = None, [], []
    for phase, (steps, size, schedule) in enumerate(plan):
        optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=schedule, momentum=0.9)
        state = optimizer.init(params)
        state = state if trace is None else state._replace(inner_state=trace)

        def step(carry, k, size=size, optimizer=optimizer, phase=phase):
            params, state = carry
            rows = jax.random.randint(
                jax.random.fold_in(jax.random.fold_in(key, 1 + phase), k), (size,), 0, images.shape[0]
            )

            def loss(params):
                logits = net.apply({"params": params}, images[rows], False)
                return softmax_cross_entropy_loss(logits, labels[rows]).mean()

            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), (state.hyperparams["learning_rate"], rows.size)

        (params, state), (used, num_examples) = jax.lax.scan(step, (params, state), jnp.arange(steps))
        trace = state.inner_state
        learning_rates.append(used)
        sizes.append(num_examples)
    return {"params": params}, jnp.concatenate(learning_rates), jnp.concatenate(sizes)


def report(losses, accuracies, learning_rates, sizes) -> StudyResult:
    """Judge final losses and accuracies {way: [seeds]}, with learning rates and batch sizes {way: [steps]}."""
    small, same, scaled, ramp = (losses[name] for name in NAMES)
    helps = bool((scaled < same).all())
    ramps = bool((ramp <= 2 * small).all())
    helped = "helps" if helps else "does NOT help"
    verdict = (
        f"After as many examples the training loss is {small.mean():.3f} with the small batch, {same.mean():.3f} with "
        f"the large one at the same rate and {scaled.mean():.3f} at the scaled rate: scaling {helped} on every seed. "
        f"The ramp, from batch {sizes['ramp'][0]} at rate {learning_rates['ramp'][0]:g} to {sizes['ramp'][-1]} at "
        f"{learning_rates['ramp'][-1]:g}, ends at {ramp.mean():.3f} in {len(learning_rates['ramp'])} steps instead of "
        f"{len(learning_rates['small batch'])}: {'within' if ramps else 'NOT within'} twice the small batch's."
    )
    numbers = {f"training loss, {name}": losses[name].tolist() for name in NAMES}
    numbers |= {f"test accuracy, {name}": accuracies[name].tolist() for name in NAMES}
    numbers |= {
        f"rates, {name}": sorted({round(float(r), 6) for r in learning_rates[name]}) for name in ("small batch", "ramp")
    }
    numbers |= {"batch sizes, ramp": sorted({int(n) for n in sizes["ramp"]})}
    numbers |= {f"steps, {name}": len(learning_rates[name]) for name in NAMES}
    headline = Headline("training loss, same rate over scaled rate", same / scaled, "digits")
    return StudyResult(numbers, verdict, {"scaling": draw(losses, learning_rates, sizes)}, helps and ramps, headline)


def draw(losses, learning_rates, sizes):
    figure, (left, right) = new_figure((10, 3.6), 1, 2, grid="both")
    colors = (BLUE, VERMILION, GREEN, ORANGE)
    seed_dots(left, {name.replace(", ", "\n"): losses[name] for name in NAMES}, colors)
    for name, color in zip(NAMES, colors, strict=True):
        right.plot(np.cumsum(sizes[name]), learning_rates[name], color=color, label=name)
    left.set(yscale="log", ylabel="training loss at the end")
    right.set(xlabel="examples seen", ylabel="learning rate, from the optimizer's state")
    right.legend(frameon=False, fontsize=8)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    num_examples: PositiveInt = 25600,
    batch_size: PositiveInt = 32,
    factor: PositiveInt = 8,
    learning_rate: NonNegativeFloat = 0.02,
) -> StudyResult:
    """Train in four ways on the same number of examples.

    Args:
      num_examples: examples that each run draws, in all its steps together.
      batch_size: examples a step of the small batch.
      factor: the large batch size over the small one, a power of two.
      learning_rate: learning rate of the small batch.
    """
    data, net = shuffled_digits(), SmallNet((64, 64))
    images, labels = jnp.asarray(data.images, jnp.float32), jnp.asarray(data.labels)
    losses, accuracies, learning_rates, sizes = {}, {}, {}, {}
    for name, plan in plans(learning_rate, batch_size, factor, num_examples).items():

        @jax.jit
        @jax.vmap
        def one(key, plan=plan):
            variables, used, num_examples = run(plan, net, images, labels, key)
            logits = net.apply(variables, images, False)
            scores = jax.nn.log_softmax(net.apply(variables, data.test_images, False))
            loss = softmax_cross_entropy_loss(logits, labels).mean()
            return loss, log_loss_and_accuracy(scores, data.test_labels)[1], used, num_examples

        results = [np.asarray(v) for v in one(jax.random.split(jax.random.key(0), num_seeds))]
        losses[name], accuracies[name], learning_rates[name], sizes[name] = (
            results[0],
            results[1],
            results[2][0],
            results[3][0],
        )
    return report(losses, accuracies, learning_rates, sizes)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "num_examples": 1280, "factor": 2})

if __name__ == "__main__":
    main(experiment)
