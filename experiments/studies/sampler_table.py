"""With four calls of the network, solvers of higher order draw better digits than DDIM, and a reflow than its flow.

python -m experiments.studies.sampler_table
python -m experiments.studies.sampler_table --samplers=ddim,unipc --rows=rows.json                       (two rows)

One small U-Net is trained on digits of 8 x 8 pixels in five ways, each for as many steps: as DDPM (noise prediction),
as EDM, as a flow, as a reflow of this flow (for a quarter of the steps), and as a consistency model on images alone.
Then every sampler draws from its network with the same numbers of calls. Quality is the Fréchet distance of 500 samples
to the 500 test images, in the features of a small classifier that the study trains, so distances compare within the
table alone. The networks are the same for all seeds; a seed draws its own noise. Heun's method calls the network twice
a step except in the last, so it has one call less than the column says. The samplers of DDPM begin at the last timestep
(trailing spacing) and clip the predicted image. LCM's steps are those of a consistency model and need a distilled
network; the row `consistency` has them.

The claim holds where, for each seed and with four calls, DPM-Solver++ and UniPC are both closer to the test images than
DDIM, and the reflow is closer than the flow, both by Euler's method. With `--rows` a file stores the rows: a run adds
those of its `--samplers` and shows all of them.

Measured in 6 minutes of two shared cores: the Fréchet distance by 1, 4, 16 and 64 calls, the mean of three seeds (their
deviation with 4 calls and more is 0.4 to 0.7 in most rows):

    DDIM, Euler        78.94  13.79   6.15   5.36        flow, Euler       103.67   8.15   4.92   4.51
    DPM-Solver++       78.94  14.17   5.08   5.22        flow, Heun        103.67   6.73   4.39   4.29
    UniPC              78.94  14.04   5.08   5.23        reflow, Euler       7.37   5.61   5.14   5.11
    SDE-DPM-Solver++   78.94  19.76   4.36   4.72        EDM, Euler         69.92  20.87   7.22   5.41
    DDPM (ancestral)   78.94  21.40   6.84   5.16        EDM, Heun          69.92  66.92   4.34   4.85
    TCD                78.94  18.37   7.55   6.29        consistency        33.30   8.83   8.21  11.59

The claim fails for DPM-Solver++ and UniPC, which need more than four calls to pass DDIM. The reflow is the best by one
call and by four, and behind its flow by 16 and more. With four calls Heun's method has two steps, too few for EDM. The
noise of SDE-DPM-Solver++ costs quality with few calls and helps with 16. A consistency model gains nothing from
more than 16 calls.

References: Ho et al. 2020, arXiv:2006.11239; Song et al. 2021, arXiv:2010.02502; Lu et al. 2022, arXiv:2211.01095;
Zhao et al. 2023, arXiv:2302.04867; Karras et al. 2022, arXiv:2206.00364; Liu et al. 2023, arXiv:2209.03003.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.evaluators.frechet import frechet_of_features
from dlcore.experiment import Headline, Range, Study, StudyResult
from dlcore.generative import consistency, ddpm, edm, flow_matching
from dlcore.generative.diffusion import Sampling
from dlcore.generative.unet import UNet
from dlcore.learner import Learner
from dlcore.main import main
from dlcore.report.figure import new_figure
from experiments.studies.blurry_samples import features_of
from experiments.studies.self_supervised_table import fill_rows, optimizer_of, read_rows, train
from experiments.studies.small_runs import Digits, shuffled_digits

SHAPE = (8, 8, 1)
FEW_CALLS = 4
FEATURE_STEPS = 600

Build = Callable[..., Learner]
"""Arguments that all techniques share -> the learner."""


class Sampler(NamedTuple):
    """A row of the table.

    Args:
      technique: name in TRAININGS of the network that it draws from.
      build: number of calls -> the learner whose `predict` draws by them.
    """

    technique: str
    build: Callable[[int], Build]


def diffusion(name: str, **options: Any) -> Sampler:
    """Draw from DDPM's network by a sampler that calls it once a step."""

    def build(calls: int) -> Build:
        return functools.partial(ddpm.learner, sampling=Sampling(name, calls, spacing="trailing", **options))

    return Sampler("ddpm", build)


def steps_of(solver: str, calls: int) -> int:
    """Count the steps of a solver of differential equations that call the network at most `calls` times."""
    return (calls + 1) // 2 if solver == "heun" else calls


def elucidated(solver: str) -> Sampler:
    """Draw from EDM's network."""

    def build(calls: int) -> Build:
        sampling = edm.EDMSampling(solver, steps_of(solver, calls))
        return functools.partial(edm.learner, edm_sampling=sampling)

    return Sampler("edm", build)


def flow(technique: str, solver: str) -> Sampler:
    """Draw from the network of a flow."""

    def build(calls: int) -> Build:
        sampling = flow_matching.FlowSampling(solver, steps_of(solver, calls))
        return functools.partial(flow_matching.learner, flow_sampling=sampling)

    return Sampler(technique, build)


def consistent(calls: int) -> Build:
    """Draw from the consistency model."""
    sampling = consistency.ConsistencySampling(calls)
    return functools.partial(consistency.learner, num_steps=1, consistency_sampling=sampling)


SAMPLERS = {
    "ddpm": diffusion("ddpm"),
    "ddim": diffusion("ddim"),
    "euler": diffusion("euler"),
    "dpmpp": diffusion("dpmpp"),
    "sde_dpmpp": diffusion("sde_dpmpp"),
    "unipc": diffusion("unipc"),
    "tcd": diffusion("tcd", eta=0.3),
    "edm_euler": elucidated("euler"),
    "edm_heun": elucidated("heun"),
    "flow_euler": flow("flow", "euler"),
    "flow_heun": flow("flow", "heun"),
    "reflow_euler": flow("reflow", "euler"),
    "consistency": Sampler("consistency", consistent),
}
COLORS = dict(zip(SAMPLERS, (f"C{i}" for i in range(len(SAMPLERS))), strict=True))


def train_networks(techniques: set[str], steps: int, width: int, batch_size: int, learning_rate: float) -> dict:
    """Train the networks that the samplers need: {technique: state}."""
    data = shuffled_digits()
    arrays, shared = (jnp.asarray(data.images), jnp.asarray(data.labels)), arguments(steps, width, learning_rate)
    builds = {
        "ddpm": ddpm.learner,
        "edm": edm.learner,
        "flow": flow_matching.learner,
        "consistency": functools.partial(consistency.learner, num_steps=steps),
    }
    needed = techniques | ({"flow"} if "reflow" in techniques else set())
    states = {}
    for name in (name for name in builds if name in needed):
        run = functools.partial(train, builds[name](**shared), steps, batch_size)
        states[name] = jax.jit(run)(jax.random.key(0), *arrays)
    if "reflow" in techniques:
        count = max(1, steps // 4)
        optimizer = optimizer_of(learning_rate, count)
        learner = flow_matching.learner(
            **{**shared, "optimizer": optimizer}, teacher=shared["model"].copy(), time_density="uniform"
        )

        def start(state: Any) -> Any:
            params, teacher = {"student": states["flow"].params}, {"teacher": states["flow"].params}
            return state.replace(params=params, locked=teacher, opt_state=optimizer.init(params))

        run = functools.partial(train, learner, count, batch_size, start=start)
        state = jax.jit(run)(jax.random.key(1), *arrays)
        states["reflow"] = states["flow"].replace(params=state.params["student"])
    return states


def arguments(steps: int, width: int, learning_rate: float, shape: tuple[int, int, int] = SHAPE) -> dict[str, Any]:
    """Build what all techniques share."""
    return {"model": UNet(width=width), "optimizer": optimizer_of(learning_rate, steps), "shape": shape}


def feature_space(steps: int, data: Digits) -> tuple[Callable[[jax.Array], np.ndarray], np.ndarray]:
    """Train the classifier of the distances: (images -> features [N, D], features of the test images [M, D])."""
    network = features_of(jnp.asarray(data.images), jnp.asarray(data.labels), min(steps, FEATURE_STEPS))

    def features(images: jax.Array) -> np.ndarray:
        return np.asarray(network(images))

    return features, features(jnp.asarray(data.test_images))


def measure(
    sampler: Sampler,
    state: Any,
    shared: dict[str, Any],
    distance: Callable[[jax.Array], float],
    calls: tuple[int, ...],
    num_seeds: int,
    num_samples: int,
) -> dict[str, list[float]]:
    """Draw by a sampler: {number of calls: distance of each seed}."""
    row, batch = {}, {"index": jnp.arange(num_samples)}
    for count in calls:
        predict = jax.jit(sampler.build(count)(**shared).predict)
        seeds = range(num_seeds)
        row[str(count)] = [
            distance(predict(state.replace(rng=jax.random.key(seed)), batch)["sample"]) for seed in seeds
        ]
    return row


def gains(rows: dict[str, dict[str, list[float]]]) -> dict[str, np.ndarray] | None:
    """Compute by how much the Fréchet distance falls with few calls, [seeds]; None for a part of the table."""
    pairs = {"dpmpp": "ddim", "unipc": "ddim", "reflow_euler": "flow_euler"}
    calls = str(FEW_CALLS)
    if any(calls not in rows.get(name, {}) for name in {*pairs, *pairs.values()}):
        return None
    return {better: np.subtract(rows[worse][calls], rows[better][calls]) for better, worse in pairs.items()}


def report(rows: dict[str, dict[str, list[float]]]) -> StudyResult:
    """Judge {sampler: {calls: distances of the seeds}}; parts of the table have no verdict on the claim."""
    rows = {name: rows[name] for name in SAMPLERS if name in rows}
    numbers: dict[str, Any] = {
        name: {f"{calls} calls": f"{np.mean(v):.2f} ± {np.std(v):.2f}" for calls, v in row.items()}
        for name, row in rows.items()
    }
    numbers |= {f"{name}, {calls} calls": v for name, row in rows.items() for calls, v in row.items()}
    counts = list(dict.fromkeys(calls for row in rows.values() for calls in row))
    best = {
        calls: min((name for name in rows if calls in rows[name]), key=lambda name: np.mean(rows[name][calls]))
        for calls in counts
    }
    verdict = "Smallest Fréchet distance: " + ", ".join(
        f"{name} {np.mean(rows[name][calls]):.2f} with {calls} calls" for calls, name in best.items()
    )
    holds = headline = None
    if (fall := gains(rows)) is not None:
        holds = bool(all((values > 0).all() for values in fall.values()))
        text = ", ".join(f"{name} {values.mean():+.2f}" for name, values in fall.items())
        verdict += f". Gain with {FEW_CALLS} calls: {text}; {'for' if holds else 'NOT for'} each seed"
        headline = Headline(
            f"fall of the Fréchet distance from DDIM to DPM-Solver++ with {FEW_CALLS} calls", fall["dpmpp"], "digits"
        )
    return StudyResult(numbers, verdict + ".", {"samplers": draw(rows)}, holds, headline)


def draw(rows: dict[str, dict[str, list[float]]]):
    figure, axes = new_figure((7, 4.2))
    for name, row in rows.items():
        calls = [int(count) for count in row]
        axes.plot(calls, [np.mean(v) for v in row.values()], "o-", ms=4, lw=1.3, color=COLORS[name], label=name)
    axes.set(xlabel="calls of the network", ylabel="Fréchet distance", xscale="log", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def study(
    *,
    samplers: tuple[str, ...] = tuple(SAMPLERS),
    calls: tuple[int, ...] = (1, 4, 16, 64),
    num_seeds: Annotated[int, Range(1)] = 3,
    num_samples: Annotated[int, Range(2)] = 500,
    steps: Annotated[int, Range(1)] = 600,
    width: Annotated[int, Range(2)] = 16,
    batch_size: Annotated[int, Range(2)] = 64,
    learning_rate: Annotated[float, Range(0)] = 3e-3,
    rows: str | None = None,
) -> StudyResult:
    """Train a network in each way, and draw from it by all samplers.

    Args:
      samplers: rows of the table to measure.
      calls: numbers of calls of the network, each from 1 to 1000.
      num_seeds: repetitions of the drawing, each with its own noise.
      num_samples: samples of a distance.
      steps: training steps of each network; the reflow has a quarter of them.
      width: channels of the U-Net's first level.
      batch_size: examples of a step.
      learning_rate: peak learning rate of Adam.
      rows: JSON file of rows that are measured already, to which this run adds its own; none: all are measured anew.

    Raises:
      ValueError: a sampler is unknown, a number of calls is out of range, or the file's rows have other settings.
    """
    if unknown := [name for name in samplers if name not in SAMPLERS]:
        raise ValueError(f"samplers={unknown[0]}: unknown; allowed: {', '.join(SAMPLERS)}")
    if bad := [count for count in calls if not 1 <= count <= 1000]:
        raise ValueError(f"calls={bad[0]}: out of range; allowed: 1 to 1000")
    settings = {
        "calls": list(calls),
        "num_seeds": num_seeds,
        "num_samples": num_samples,
        "steps": steps,
        "width": width,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    stored = read_rows(rows, settings)
    techniques = {SAMPLERS[name].technique for name in samplers if name not in stored}
    states = train_networks(techniques, steps, width, batch_size, learning_rate)
    features, reference = feature_space(steps, shuffled_digits())
    shared = arguments(steps, width, learning_rate)

    def distance(images: jax.Array) -> float:
        return frechet_of_features(features(images), reference)

    def measure_row(name: str) -> dict[str, list[float]]:
        sampler = SAMPLERS[name]
        return measure(sampler, states[sampler.technique], shared, distance, calls, num_seeds, num_samples)

    def summary(row: dict[str, list[float]]) -> str:
        return ", ".join(f"{count} calls {np.mean(v):.2f}" for count, v in row.items())

    return report(fill_rows(rows, settings, samplers, measure_row, summary))


experiment = Study(
    __file__,
    __doc__,
    study,
    smoke={
        "samplers": ("ddim", "reflow_euler"),
        "calls": (1, 2),
        "num_seeds": 1,
        "num_samples": 4,
        "steps": 2,
        "width": 4,
        "batch_size": 4,
    },
)

if __name__ == "__main__":
    main(experiment)
