"""`--mode=sanity`: sanity checks before training.

1. the initial loss has its theoretical value (log C for softmax over C classes);
2. the loss rises with the strength of the penalty;
3. the learner overfits twenty examples in at most 1,000 steps, without regularization and augmentation;
4. the gradient agrees with centered differences in float64, at sampled coordinates of every leaf (--mode=gradcheck
   prints them);
5. a short training raises the validation accuracy above chance; otherwise labels do not match their images;
6. with shuffled training and validation labels, accuracy stays at chance; otherwise labels leak.

The first two use the learner's initial parameters; the others start as --mode=train does, possibly from given weights.
Examples are sampled by seed, stratified by class. Chance is the fraction of the largest class; an accuracy is above
chance if a binomial count exceeds it with a probability of at most 3.2e-5, that of 4 sigma of a normal distribution.
"""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore.activity import activity
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import shuffle_labels
from dlcore.data.splits import Splits, map_sources
from dlcore.data.stratified import stratified_sample
from dlcore.diagnostics.gradient_check import check_gradient
from dlcore.experiment.mode import Mode
from dlcore.experiment.parts import Run
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Learner, root_key
from dlcore.modes.gradcheck import agrees, losses_after_burn_in, sampled_batch
from dlcore.run.evaluate import evaluate
from dlcore.run.fit import Result, fit
from dlcore.run.hooks import STOP
from dlcore.run.progress import say
from dlcore.run.step import Placement
from dlcore.weights.check import load_data

__all__ = ["CHECKS", "MODE", "Bench", "Check", "above_chance", "sanity"]

TINY = 20
OVERFIT_STEPS, SHUFFLED_STEPS = 1000, 150
MANY_CLASSES = 100
SIGMAS = 4.0


class Check(NamedTuple):
    """Result of one check.

    Args:
      name: name of the check.
      measured: text of the measured value.
      expected: text of the values that pass.
      passed: whether it passed; None if it does not apply.
    """

    name: str
    measured: str
    expected: str
    passed: bool | None


def _one_device() -> Placement:
    from dlcore.run.sharding import make_mesh

    return Placement(make_mesh("data:1", jax.devices()[:1]))


class Bench:
    """Learners of one experiment with changed settings.

    Args:
      run: the resolved run of the experiment.
      data: splits of its data.
    """

    def __init__(self, run: ResolvedRun, data: Splits):
        self.run, self.data = run, data
        self.spec = run.training_of(data).spec

    def training(self, *, steps: int | None = None, **changes: Any) -> Run:
        """Build the training of the learner.

        Args:
          steps: length of the training; None for that of the run.
          **changes: settings that replace the run's.

        Returns:
          The training, for jit.
        """
        training = self.run.training(self.spec, self.run.flags.replace(spmd="jit", **changes))
        return training.replace(steps=steps or training.steps)

    def learner(self, **changes: Any) -> Learner:
        """Build the learner.

        Args:
          **changes: arguments of `training`.

        Returns:
          The learner, under jit.
        """
        return self.training(**changes).build()

    def train(self, train: Any, batch_size: int, steps: int, **options: Any) -> tuple[Learner, Result]:
        """Train without regularization and augmentation, on one device, from the run's initial state.

        Args:
          train: a source, or a dict of sources.
          batch_size: examples per step, times the batch ratio of each of several sources.
          steps: length of the training.
          **options: arguments of `fit`.

        Returns:
          (learner, result of `fit`).
        """
        seed = self.run.flags.seed
        training = self.training(steps=steps, **self.run.plain)
        learner = training.build()
        result = fit(
            learner,
            map_sources(lambda x, ratio: Pipeline(x, batch_size * ratio, seed), train, self.data.batch_ratios),
            steps=steps,
            start=training.start(),
            progress=False,
            seed=seed,
            placement=_one_device(),
            **options,
        )
        return learner, result

    def initial_loss(self, learner: Learner) -> float:
        """Compute the loss at initialization on one batch.

        Args:
          learner: learner with a loss.

        Returns:
          The loss.
        """
        batch = sampled_batch(self.data, self.run.flags.batch_size, self.run.flags.seed)
        state = jax.jit(learner.init)(root_key(self.run.flags.seed), batch)
        assert learner.loss is not None  # checked by the callers
        return float(jax.jit(learner.loss)(state.params, state, batch)[0])


def _check_initial(bench: Bench) -> Check:
    sanity = bench.run.experiment.sanity
    if bench.learner().loss is None:
        return Check("loss at initialization", "–", "the learner has no loss", None)
    if sanity.expected_loss is None:
        return Check("loss at initialization", "–", "the experiment states none", None)
    expected = sanity.expected_loss(bench.run.training(bench.spec))
    changes = {sanity.regularizer: 0.0} if sanity.regularizer else {}
    measured = bench.initial_loss(bench.learner(**changes))
    return Check(
        "loss at initialization",
        f"{measured:.6f}",
        f"{expected:.6f} within {sanity.tolerance:.0%}",
        abs(measured - expected) <= sanity.tolerance * abs(expected),
    )


def _check_regularization(bench: Bench) -> Check:
    name = bench.run.experiment.sanity.regularizer
    if bench.learner().loss is None:
        return Check("loss rises with regularization", "–", "the learner has no loss", None)
    if name is None:
        return Check("loss rises with regularization", "–", "the experiment has no penalty", None)
    strengths = (0.0, 1e-4, 1e-3, 1e-2)
    losses = [bench.initial_loss(bench.learner(**{name: s})) for s in strengths]
    formatted = " < ".join(f"{loss:.4f}" for loss in losses)
    rises = all(a < b for a, b in itertools.pairwise(losses))
    return Check("loss rises with regularization", formatted, f"--{name} in {strengths}", rises)


def _check_overfit(bench: Bench) -> Check:
    max_loss = bench.run.experiment.sanity.overfit
    if max_loss is None:
        return Check(f"overfits {TINY} examples", "–", "the experiment's loss does not go to 0", None)
    data, seed = bench.data, bench.run.flags.seed

    def sample(source: Any, ratio: int) -> Any:
        return stratified_sample(source, min(TINY * ratio, len(source)), seed)

    tiny = map_sources(sample, data.train, data.batch_ratios)
    count = data._replace(train=tiny).train_size

    def memorized(loss: float, accuracy: float = 1.0) -> bool:
        return loss < max_loss and accuracy == 1.0

    def stop(step: int, state: Any, metrics: dict) -> Any:
        scores = {name: metrics[f"train/{name}"] for name in ("loss", "accuracy") if f"train/{name}" in metrics}
        return STOP if memorized(**scores) else None

    _, result = bench.train(tiny, count, OVERFIT_STEPS, log_every=OVERFIT_STEPS // 40, hooks=[stop])
    last = result.history[-1]
    extra = "" if last.get("accuracy") is None else f", accuracy {last['accuracy']:.3f}"
    return Check(
        f"overfits {count} examples",
        f"loss {last['loss']:.2e}{extra} at step {last['step']}",
        f"loss < {max_loss:g}, accuracy 1",
        memorized(last["loss"], last.get("accuracy", 1.0)),
    )


def _check_gradient(bench: Bench) -> Check:
    name = "gradient check"
    with jax.enable_x64(True):
        losses_and_params = losses_after_burn_in(bench.run, bench.data)
        if losses_and_params is None:
            return Check(name, "–", "the learner has no loss", None)
        losses, params = losses_and_params
        lines = check_gradient(losses["data loss"], params, seed=bench.run.flags.seed, allow_random=True)
    worst, compared = max(lines, key=lambda line: line.error), sum(line.verdict is not None for line in lines)
    measured = f"{worst.error:.1e} at {worst.path}" if compared else "nothing could be compared"
    return Check(name, measured, f"< 1e-4 at {compared} of {len(lines)} arrays, float64", agrees(lines))


def above_chance(label: np.ndarray) -> float | None:
    """Compute the largest accuracy that chance explains.

    Args:
      label: [N] int, labels of the evaluated examples.

    Returns:
      k / N such that guesses, correct with the fraction of the largest class, are correct more than k times with a
      probability of at most 3.2e-5; None if even N correct guesses are more probable.
    """
    from scipy.stats import binom, norm

    majority = np.bincount(label).max() / len(label)
    quantile = int(binom.isf(norm.sf(SIGMAS), len(label), majority))
    return quantile / len(label) if quantile < len(label) else None


def _check_labels(bench: Bench, shuffled: bool) -> Check:
    name = "shuffled labels stay at chance" if shuffled else "true labels rise above chance"
    data, flags = bench.data, bench.run.flags
    classes = bench.spec.get("num_classes")
    if (
        data.valid is None
        or classes is None
        or bench.run.experiment.parts.headline not in ("accuracy", "accuracy_by_video")
    ):
        return Check(name, "–", "there are no classes", None)
    if classes > MANY_CLASSES and not shuffled:
        return Check(name, "–", f"{SHUFFLED_STEPS} steps say little of {classes} classes", None)
    train, valid = data.train, data.valid
    if "video" in valid.arrays:  # clips of one video are not independent: keep one of each
        valid = valid.subset(np.unique(valid.arrays["video"], return_index=True)[1])
    bound = above_chance(valid.arrays["label"])
    if bound is None:
        return Check(name, "–", f"{len(valid)} validation examples cannot tell from chance", None)
    # Validation labels are shuffled too: a cluster of images may keep its true labels by chance.
    if shuffled:
        valid = shuffle_labels(valid, flags.seed + 1)
        train = map_sources(lambda x, _: shuffle_labels(x, flags.seed) if "label" in x.arrays else x, train, {})
    batch_size = min(flags.batch_size, data.train_size)
    learner, result = bench.train(train, batch_size, SHUFFLED_STEPS, log_every=SHUFFLED_STEPS)
    accuracy = evaluate(learner, result.state, valid, placement=_one_device())["accuracy"]
    expected = f"{'<=' if shuffled else '>'} {bound:.3f} (chance, largest class)"
    return Check(name, f"validation accuracy {accuracy:.3f}", expected, (accuracy <= bound) == shuffled)


def _check_true(bench: Bench) -> Check:
    return _check_labels(bench, shuffled=False)


def _check_shuffled(bench: Bench) -> Check:
    return _check_labels(bench, shuffled=True)


CHECKS = (_check_initial, _check_regularization, _check_overfit, _check_gradient, _check_true, _check_shuffled)
"""Functions Bench -> Check, in order."""


def sanity(run: ResolvedRun) -> int:
    """Run the checks and print a table.

    Returns:
      The exit status: 1 if a check failed.
    """
    data = load_data(run, run.flags.replace(**run.plain))
    run.build(run.training_of(data), sampled_batch(data, run.flags.batch_size, run.flags.seed))
    bench = Bench(run, data)
    failed = 0
    say(f"{'check':32} {'measured':44} {'expected':44} verdict")
    for check in CHECKS:
        with activity(check.__name__.removeprefix("_").replace("_", " ")):
            row = check(bench)
        failed += row.passed is False
        verdict = {True: "pass", False: "FAIL", None: "not applicable"}[row.passed]
        say(f"{row.name:32} {row.measured:44} {row.expected:44} {verdict}")
    return int(failed > 0)


MODE = Mode(sanity)
