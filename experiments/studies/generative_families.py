"""Trained for as many steps, diffusion models draw digits closer to the test images than GANs and a VAE do.

python -m experiments.studies.generative_families
python -m experiments.studies.generative_families --families=vae,gan --rows=rows.json                    (two rows)
python -m experiments.studies.generative_families --dataset=fashion_mnist --data_dir=D --image_size=16   (69 min)

Each family trains a small network of its own by its own learner, on the same digits of 8 x 8 pixels and for the same
number of steps and images a step: a VAE, a GAN, StyleGAN 2, Glow, PixelCNN, and one U-Net that is trained as DDPM, as
EDM, as a flow and as a consistency model. A step of a GAN trains both players. The learning rates are those of the
pages, but five times as high for the GAN and three times for the U-Net, as the steps are few. DDPM draws by 50 steps of
DDIM, EDM by 18 of Heun's method, the flow by 16 of Euler's, the consistency model by one call of the network and by
two. A sample of the VAE is the mean of p(x given z). A seed trains anew and draws its own noise.

Quality is that of 500 samples against the 500 test images, in the features of a small classifier that the study trains,
so distances compare within the table alone. `training_images` draws training images, which are of other writers than
the test images, and `independent_pixels` draws each pixel from those of the training images at its position. Bits per
dimension are of 17 levels, which lose nothing of the digits; Glow's are a bound. Seconds leave the compilation out.

The claim holds where, for each seed, the Fréchet distances of DDPM, EDM and the flow are all below those of the VAE,
the GAN and StyleGAN 2. With `--rows` a file stores the rows: a run adds those of its `--families` and shows all.

Measured over three seeds in 12 minutes of a shared core: Fréchet distance, precision, recall, seconds of training.

    training images       3.2  0.90  0.94            DDPM                  6.8  0.73  0.98   23
    GAN                   4.5  0.65  0.97    6       consistency, 2 calls  7.9  0.68  0.96   17
    EDM                   4.7  0.75  0.99   29       Glow                 11.0  0.79  0.93    5
    PixelCNN              5.2  0.75  0.98   33       VAE                  15.5  0.86  0.68    0.3
    flow matching         5.5  0.84  0.97   17       StyleGAN 2           19.1  0.80  0.54   25
    independent pixels   38.8  0.69  0.60            consistency, 1 call  53.4  0.69  0.28   19

The claim fails: by 600 steps the plain GAN is ahead of all diffusion models in distance, although it has a lower
precision. StyleGAN 2 has not converged by then. PixelCNN has 1.85 bits per dimension, independent pixels 2.40
and Glow 2.54, which learns the few training images by heart.

The third command, also of three seeds, draws clothes of 16 x 16 pixels from Fashion-MNIST, on one core:

    training images       1.2  0.96  0.97            Glow                 23.6  0.69  0.78   47
    GAN                   2.2  0.85  0.96   68       StyleGAN 2           24.1  0.95  0.59  224
    flow matching         7.1  0.91  0.90   98       consistency, 2 calls 31.4  0.74  0.60  121
    EDM                  11.3  0.81  0.92   97       PixelCNN             44.9  0.60  0.83  120
    DDPM                 21.6  0.85  0.83   97       independent pixels   66.7  0.75  0.08
    VAE                  23.2  0.90  0.67   18       consistency, 1 call  81.1  0.97  0.04  121

PixelCNN has 1.46 bits per dimension, Glow 1.89 and independent pixels 3.10. PixelCNN gives the test images the highest
likelihood, and of the trained models only the consistency model's single call draws worse images: likelihood does not
rank what one sees.

References: the page of each family names its paper; Kynkäänniemi et al. 2019, arXiv:1904.06991 (precision, recall).
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data import image_classification
from dlcore.data.augment.color import to_float
from dlcore.evaluators.frechet import frechet_of_features, kid
from dlcore.evaluators.manifold import neighborhoods
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.generative import autoregressive, dcgan, gan, normalizing_flow, style_gan2, style_gan2_networks, vae
from dlcore.generative.likelihood import independent_log_likelihood, nats_to_bits, quantize
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.learner import Learner
from dlcore.main import main
from dlcore.optim import create_schedule
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure, seed_dots, show_image
from experiments.studies.sampler_table import SAMPLERS, arguments, feature_space
from experiments.studies.self_supervised_table import fill_rows, optimizer_of, train
from experiments.studies.small_runs import Digits, shuffled_digits

LEVELS, NUM_SHOWN, NUM_TESTS = 17, 12, 500
FRECHET, BITS, SAMPLES = "Fréchet distance", "bits per dimension", "samples"
MEASURES = (FRECHET, "KID", "precision", "recall", BITS, "training, s", "sampling, s")


Shape = tuple[int, int, int]


def variational(steps: int, shape: Shape) -> Learner:
    return vae.learner(model=vae.VAE(shape, hidden=(256,), latent_dim=16), optimizer=optimizer_of(2e-3, steps))


def players(generator: Any, discriminator: Any, momentum: float, steps: int) -> dict[str, Any]:
    """Build what both GANs take."""
    optimizer = optax.adam(create_schedule("linear", 1e-3, steps), b1=momentum)
    optimizers = {"generator_optimizer": optimizer, "discriminator_optimizer": optimizer}
    return {"generator": generator, "discriminator": discriminator, **optimizers, "ema": 0.999}


def adversarial(steps: int, shape: Shape) -> Learner:
    return gan.learner(**players(dcgan.Generator(shape, 24), dcgan.Discriminator(48), 0.5, steps))


def styled(steps: int, shape: Shape) -> Learner:
    generator, discriminator = style_gan2_networks.Generator(shape, 16), style_gan2_networks.Discriminator(32)
    options = {"latent_dim": 64 + generator.num_noise, "r1": 0.3, "r1_interval": 4, "ada_images": 20_000}
    return style_gan2.learner(**players(generator, discriminator, 0.0, steps), **options)


def invertible(steps: int, shape: Shape) -> Learner:
    model = normalizing_flow.NormalizingFlow(shape, num_steps=4)
    return normalizing_flow.learner(model=model, optimizer=optimizer_of(1e-3, steps), shape=shape, levels=LEVELS)


def pixel_by_pixel(steps: int, shape: Shape) -> Learner:
    model = PixelCNN(LEVELS, 1, num_layers=3, dropout=0.2)
    return autoregressive.learner(model=model, optimizer=optimizer_of(2e-3, steps), shape=shape)


def denoising(sampler: str, calls: int) -> Callable[[int, Shape], Learner]:
    """Build the learner of a row of the sampler table, which calls the U-Net so often for a sample."""
    build = SAMPLERS[sampler].build(calls)
    extra = ("num_steps",) if sampler == "consistency" else ()
    return lambda steps, shape: build(**arguments(steps, 16, 3e-3, shape), **dict.fromkeys(extra, steps))


FAMILIES: dict[str, Callable[[int, Shape], Learner]] = {
    "vae": variational,
    "gan": adversarial,
    "style_gan2": styled,
    "glow": invertible,
    "pixel_cnn": pixel_by_pixel,
    "ddpm": denoising("ddim", 50),
    "edm": denoising("edm_heun", 35),
    "flow_matching": denoising("flow_euler", 16),
    "consistency": denoising("consistency", 1),
    "consistency_2": denoising("consistency", 2),
}
"""Number of training steps, shape of an image -> learner."""
REFERENCES = ("training_images", "independent_pixels")
ROWS = (*FAMILIES, *REFERENCES)
DIFFUSION, RIVALS = ("ddpm", "edm", "flow_matching"), ("vae", "gan", "style_gan2")
COLORS = {**dict.fromkeys(FAMILIES, BLUE), "gan": VERMILION, "style_gan2": VERMILION, **dict.fromkeys(REFERENCES, GRAY)}
COLORS |= dict.fromkeys(("vae", "glow", "pixel_cnn"), GREEN)


def gray_images(dataset: str, data_dir: str | None, image_size: int | None) -> Digits:
    """Load the training images of a data set and the first of its test images, in [0, 1]."""
    splits = image_classification.load(dataset, data_dir, image_size=image_size)
    train_split, test = (split.arrays for split in (splits.train, splits.test))
    if (channels := train_split["image"].shape[-1]) != 1:
        raise ValueError(f"dataset={dataset}: {channels} channels; allowed: a data set of gray images")
    # A slice reads images that are resized from disk.
    images, tests = (np.asarray(to_float(part["image"][:n])) for part, n in ((train_split, None), (test, NUM_TESTS)))
    return Digits(images, train_split["label"], tests, test["label"][:NUM_TESTS])


Run = tuple[jax.Array, dict[str, float]]  # samples of one seed, and what is measured beside their quality


def runs(name: str, data: Digits, steps: int, batch_size: int, num_seeds: int, num_samples: int) -> Iterator[Run]:
    """Train a family and draw from it, seed by seed."""
    learner, (images, labels, tests) = FAMILIES[name](steps, data.images.shape[1:]), map(jnp.asarray, data[:3])
    batch, tests = {"index": jnp.arange(num_samples)}, {"image": tests, "index": jnp.arange(len(tests))}
    run, evaluate = jax.jit(functools.partial(train, learner, steps, batch_size)), jax.jit(learner.evaluate)
    example = jax.random.key(0), images, labels
    program = run.lower(*example).compile()
    sampler = jax.jit(learner.predict).lower(jax.eval_shape(run, *example), batch).compile()
    for seed in range(num_seeds):
        began = time.perf_counter()
        state = jax.block_until_ready(program(jax.random.key(seed), images, labels))
        sampling_began = time.perf_counter()
        samples = jax.block_until_ready(sampler(state, batch)["sample"])
        numbers = {"training, s": sampling_began - began, "sampling, s": time.perf_counter() - sampling_began}
        if name in ("glow", "pixel_cnn"):
            numbers[BITS] = evaluate(state, tests)[f"bits_per_dim_{LEVELS}_levels"].compute()
        yield samples, numbers


def reference_runs(name: str, data: Digits, num_seeds: int, num_samples: int) -> Iterator[Run]:
    """Draw training images without repetition, or independent pixels of them, seed by seed."""
    images = jnp.asarray(data.images)
    levels = [quantize(jnp.asarray(x), LEVELS) for x in (data.images, data.test_images)]
    nats = -independent_log_likelihood(*levels, LEVELS)
    bits = {BITS: float(nats_to_bits(nats.mean(), images[0].size))}
    for key in map(jax.random.key, range(num_seeds)):
        if name == "training_images":
            yield jax.random.choice(key, images, (num_samples,), replace=False), {}
        else:
            rows = jax.random.randint(key, (num_samples, *images.shape[1:]), 0, len(images))
            yield jnp.take_along_axis(images, rows, 0), bits


def quality(features: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Compare the features of samples [N, D] with those of test images [M, D]."""
    near = neighborhoods(reference, features, min(5, len(features) - 1))
    distances = {FRECHET: frechet_of_features(features, reference), "KID": kid(features, reference)}
    return {**distances, "precision": float(near.precision.mean()), "recall": float(near.recall.mean())}


def report(rows: dict[str, dict[str, Any]], dataset: str = "digits") -> StudyResult:
    """Judge {family: {measure: values of the seeds, "samples": images}}; a part has no verdict on the claim."""
    ranked = sorted((name for name in ROWS if name in rows), key=lambda name: np.mean(rows[name][FRECHET]))
    numbers: dict[str, Any] = {}
    for name in ranked:
        cells = {key: rows[name].get(key) for key in MEASURES}
        numbers[name] = {k: "–" if v is None else f"{np.mean(v):.3g} ± {np.std(v):.2g}" for k, v in cells.items()}
        numbers[f"{FRECHET}, {name}"] = rows[name][FRECHET]
    verdict = f"{FRECHET}: " + ", ".join(f"{name} {np.mean(rows[name][FRECHET]):.2f}" for name in ranked)
    holds = headline = None
    if rows.keys() >= {*DIFFUSION, *RIVALS}:
        rivals, models = ([rows[name][FRECHET] for name in names] for names in (RIVALS, DIFFUSION))
        lead = np.min(rivals, 0) - np.max(models, 0)  # [seeds]
        holds = bool((lead > 0).all())
        text = f"The worst of {', '.join(DIFFUSION)} leads the best of {', '.join(RIVALS)} by {lead.mean():+.2f}"
        verdict += f". {text}; {'for' if holds else 'NOT for'} each seed"
        headline = Headline("lead of the worst diffusion model in Fréchet distance", lead, dataset)
    return StudyResult(numbers, verdict + ".", {"families": draw(rows, ranked)}, holds, headline)


def draw(rows: dict[str, dict[str, Any]], names: list[str]):
    from dlcore.report.generative import picture_grid

    figure, (left, right) = new_figure((9, 0.9 + 0.3 * len(names)), 1, 2, grid="x")
    seed_dots(left, {name: rows[name][FRECHET] for name in names}, [COLORS[name] for name in names], horizontal=True)
    left.set(xlabel=FRECHET, xscale="log", xticks=(ticks := (2, 5, 10, 20, 50)), xticklabels=ticks)
    left.minorticks_off()
    images = np.array([rows[name][SAMPLES] for name in names], np.uint8)  # [rows, columns, H, W]
    grid = picture_grid(images.reshape(-1, *images.shape[2:], 1), images.shape[1])[..., 0]
    show_image(right, grid, "samples of the first seed", cmap="gray", aspect="auto")
    return figure


def study(
    *,
    families: tuple[str, ...] = ROWS,
    num_seeds: Annotated[int, Range(1)] = 3,
    num_samples: Annotated[int, Range(3, 1297)] = 500,
    steps: Annotated[int, Range(1)] = 600,
    batch_size: Annotated[int, Range(2, 1297)] = 64,
    dataset: str = "digits",
    data_dir: str | None = None,
    image_size: PositiveInt | None = None,
    rows: str | None = None,
) -> StudyResult:
    """Train all families for one number of steps, and measure their samples.

    Args:
      families: rows of the table to measure.
      num_seeds: repetitions, each with its own weights, batches and noise.
      num_samples: samples that are compared with the test images.
      steps: training steps of each family.
      batch_size: images of a step.
      dataset: digits, or a data set of gray images that is prepared in data_dir, such as fashion_mnist.
      data_dir: folder of the data, as of the pages.
      image_size: side to which the images of a data set in data_dir are resized; none: as they are.
      rows: JSON file of rows that are measured already, to which this run adds its own; none: all are measured anew.

    Raises:
      ValueError: a family is unknown, or the file's rows have other settings.
    """
    if unknown := [name for name in families if name not in ROWS]:
        raise ValueError(f"families={unknown[0]}: unknown; allowed: {', '.join(ROWS)}")
    settings = {"num_seeds": num_seeds, "num_samples": num_samples, "steps": steps, "batch_size": batch_size}
    if dataset == "digits" and image_size is not None:
        raise ValueError(f"image_size={image_size}: digits have 8 x 8 pixels; allowed: a size with another dataset")
    settings |= {"dataset": dataset, "image_size": image_size} if dataset != "digits" else {}
    data = shuffled_digits() if dataset == "digits" else gray_images(dataset, data_dir, image_size)
    space = functools.cache(lambda: feature_space(steps, data))

    def measure(name: str) -> dict[str, Any]:
        features, reference = space()
        if name in REFERENCES:
            pairs = reference_runs(name, data, num_seeds, num_samples)
        else:
            pairs = runs(name, data, steps, batch_size, num_seeds, num_samples)
        results = [(samples, {**quality(features(samples), reference), **numbers}) for samples, numbers in pairs]
        pictures = np.asarray(255 * results[0][0][:NUM_SHOWN, ..., 0]).round().astype(int).tolist()
        return {key: [values[key] for _, values in results] for key in results[0][1]} | {SAMPLES: pictures}

    filled = fill_rows(rows, settings, families, measure, lambda row: f"{FRECHET} {np.mean(row[FRECHET]):.2f}")
    return report(filled, dataset)


smoke = {"families": ("vae", "training_images"), "num_seeds": 1, "num_samples": 4, "steps": 2, "batch_size": 4}
experiment = Study(__file__, __doc__, study, smoke=smoke)

if __name__ == "__main__":
    main(experiment)
