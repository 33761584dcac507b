"""`--mode=gradcheck`: compare a learner's gradient with a numerical one, array by array, in float64.

The rules are those of `dlcore.diagnostics.gradient_check`: after a few training steps, few examples of all classes,
without dropout and augmentation, the data loss and the penalty separately, a few coordinates of every array. A loss
without any comparison fails.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.activity import activity
from dlcore.choices import check_whole_number
from dlcore.data.pipeline import padded_batches
from dlcore.data.source import Source
from dlcore.data.splits import Splits, map_sources
from dlcore.data.stratified import stratified_sample
from dlcore.diagnostics.gradient_check import METHODS, VERDICTS, LeafCheck, check_gradient, check_step
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Range, root_key
from dlcore.run.progress import say
from dlcore.setting import FlagError, Setting
from dlcore.weights.check import load_data

__all__ = ["MODE", "agrees", "gradcheck", "losses_after_burn_in", "sampled_batch"]

_BAD_VERDICTS = ("wrong", "uncomfortable")
EXAMPLES, BURN_IN = 8, 20
VALUES = 2**17
"""Largest number of values in the examples of a check; images above 73 x 73 pixels reduce the number of examples."""
PENALTY = 1e-2


def sampled_batch(data: Splits, size: int, seed: int) -> dict:
    """Sample training examples of all classes; the first examples of a folder share a class.

    Args:
      size: number of examples, times the batch ratio of each of several sources; all if there are fewer.
      seed: random seed of the examples.

    Returns:
      The batch, or a dict with that of each source.
    """
    check_whole_number("size", size, 1)
    check_whole_number("seed", seed, 0)

    def batch(source: Source, ratio: int) -> dict:
        sample = stratified_sample(source, min(size * ratio, len(source)), seed)
        return next(iter(padded_batches(sample, len(sample))))

    return map_sources(batch, data.train, data.batch_ratios)


def agrees(lines: list[LeafCheck]) -> bool:
    """Return whether a gradient check passes.

    Args:
      lines: result of `check_gradient`.

    Returns:
      True if something was compared, and nothing is wrong or uncomfortable.
    """
    verdicts = {line.verdict for line in lines}
    return verdicts != {None} and verdicts.isdisjoint(_BAD_VERDICTS)


def losses_after_burn_in(run: ResolvedRun, data: Splits) -> tuple[dict[str, Callable[[Any], jax.Array]], Any] | None:
    """Train on 8 examples for 20 steps or until the loss has halved, and split the loss into data loss and penalty.

    Call it under `jax.enable_x64`. Large examples reduce their number to 2 to 7. `Experiment.plain` applies; the
    initial state is that of a run. Training stops early because memorized examples have no gradient to compare.

    Args:
      data: splits of its data.

    Returns:
      ({"data loss": params -> scalar, "penalty": params -> scalar}, params), without the penalty if the experiment
        has none; None if the learner has no loss.
    """
    experiment, flags = run.experiment, run.flags

    def training_of(**changes):
        training = run.training_of(data, flags.replace(spmd="jit", **run.plain | changes), jnp.float64)
        return training.replace(steps=BURN_IN)

    training = training_of()
    learner = training.build()
    loss_of = learner.loss
    if loss_of is None:
        return None
    examples = sampled_batch(data, EXAMPLES, flags.seed)
    values = sum(math.prod(x.shape[1:]) for x in jax.tree.leaves(examples))
    if values * EXAMPLES > VALUES:
        examples = sampled_batch(data, max(2, VALUES // values), flags.seed)
    batch = jax.tree.map(lambda x: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x, examples)
    state = jax.jit(learner.init)(root_key(flags.seed), batch)
    if start := training.start():
        with jax.enable_x64(False):  # it may train a network that other runs reuse, such as a teacher
            state = start(state)
    update, loss = jax.jit(learner.update), jax.jit(lambda state: loss_of(state.params, state, batch)[0])
    first = loss(state)
    for _ in range(BURN_IN):
        state, _ = update(state, batch)
        if loss(state) < first / 2:
            break
    state = jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, state)

    def data_loss(params):
        return loss_of(params, state, batch)[0]

    losses = {"data loss": data_loss}
    if experiment.sanity.regularizer:
        penalized_loss = training_of(**{experiment.sanity.regularizer: PENALTY}).build().loss
        assert penalized_loss is not None  # as without the penalty
        losses["penalty"] = lambda params: penalized_loss(params, state, batch)[0] - data_loss(params)
    return losses, state.params


def gradcheck(run: ResolvedRun) -> int:
    """Print the gradient check of each parameter array.

    Args:
      run: the resolved run, with the flags `gradcheck_method`, `gradcheck_h` and `gradcheck_samples`.

    Returns:
      The exit status: 1 if a gradient is wrong, its error uncomfortable, or nothing could be compared.

    Raises:
      FlagError: a flag adds random numbers, such as dropout, or the step is below the rounding error.
    """
    flags = run.flags
    for name, default in run.plain.items():
        if name in flags.given and flags[name] != default:
            raise FlagError(f"--{name}={flags[name]}: blurs a gradient check; allowed: --{name}={default}")
    if flags.gradcheck_h is not None:
        try:
            check_step(flags.gradcheck_h, flags.gradcheck_method)
        except ValueError as error:
            raise FlagError(f"--gradcheck_{error}") from error
    data = load_data(run)
    run.build(run.training_of(data), sampled_batch(data, EXAMPLES, flags.seed))
    num_wrong, passed = 0, True
    with jax.enable_x64(True), activity("training briefly, then comparing gradients"):
        losses_and_params = losses_after_burn_in(run, data)
        if losses_and_params is None:
            say("not applicable: the learner has no loss")
            return 0
        losses, params = losses_and_params
        for name, loss in losses.items():
            lines = check_gradient(
                loss,
                params,
                samples=flags.gradcheck_samples,
                h=flags.gradcheck_h,
                method=flags.gradcheck_method,
                seed=flags.seed,
                allow_random=True,
            )
            say(f"{name}: {flags.gradcheck_method} against jax.grad, float64, after up to {BURN_IN} steps")
            _print(lines)
            num_wrong += sum(line.verdict in _BAD_VERDICTS for line in lines)
            passed &= agrees(lines)
            if all(line.verdict is None for line in lines):
                say(f"{name}: nothing was compared, so nothing was proven")
    if num_wrong:
        say(f"{num_wrong} arrays have a gradient that does not agree with its numerical gradient")
    elif passed:
        say("no gradient is wrong")
    return int(not passed)


def _print(lines: list[LeafCheck]) -> None:
    width = max(len(line.path) for line in lines)
    say(f"  {'array':{width}}  checked     analytic    numerical    error  kinks  verdict")
    for x in lines:
        numbers = f"{x.analytic:12.4e} {x.numerical:12.4e} {x.error:8.1e}" if x.checked else f"{'':34}"
        result = x.verdict or "nothing to compare: gradients below rounding"
        say(f"  {x.path:{width}}  {x.checked:3} of {x.checked + x.skipped:<2}{numbers}  {x.kinks:5}  {result}")
    for name, meaning in VERDICTS.items():
        if name in {x.verdict for x in lines}:
            say(f"  {name}: {meaning}")


MODE = Mode(
    gradcheck,
    {
        "gradcheck_method": Setting(
            "centered", "finite differences: centered, one-sided, or the complex step", Literal[METHODS], identity=False
        ),
        "gradcheck_h": Setting(
            None,
            "step size of the differences; by default 1e-5, for a complex step 1e-20",
            float | None,
            Range(0),
            identity=False,
        ),
        "gradcheck_samples": Setting(3, "coordinates of each array", limits=Range(1), identity=False),
    },
)
