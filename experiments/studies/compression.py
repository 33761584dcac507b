"""JPEG compresses photographs better than principal components do, and more prototypes summarize a data set better.

python -m experiments.studies.compression

Rate is an ideal code's length in bits an image, error the PSNR of the decoded image, both means over 32x32 crops of two
photographs whose test crops share no pixel with the training crops. PCA, fitted on the training crops, rounds its
leading coefficients and pays -log2 of each level's share of the training crops; the best number of components and
rounding step at each rate count. JPEG pays for its entropy-coded segment, without the header. A VQ-VAE pays for its
codes as PCA pays for its levels. The claim holds where JPEG's or the VQ-VAE's PSNR is above PCA's at `--rate` bits. PCA
has seen these photographs, and JPEG has not: at few bits PCA is ahead.

Prototypes of the digits by k-means and by a self-organizing map are labeled by the majority of their training digits;
the claim needs the accuracy of the nearest prototype to grow with their number, too, and never to fall.

Measured in 3.6 minutes, one seed: at 1,000 bits an image JPEG has 31.6 dB and PCA 30.2 dB, and their lines cross near
590 bits. The VQ-VAE has 24.4 dB at 339 bits, where PCA has 27.8 dB. From 9 to 324 prototypes the accuracy goes from
70.0 to 96.2 % (k-means) and from 62.2 to 93.8 % (SOM).

References: Wallace 1991; van den Oord et al. 2017, arXiv:1711.00937; Kohonen 1982.
"""

import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.classic_ml.compression import dropped_variance, jpeg_code, level_bits, pca_code, prototype_accuracy
from dlcore.classic_ml.kmeans import kmeans
from dlcore.classic_ml.som import som
from dlcore.data.photographs import photo_crops
from dlcore.data.preprocess import fit_pca
from dlcore.experiment import Headline, PositiveInt, Range, Seed, Study, StudyResult
from dlcore.generative import vq_vae
from dlcore.main import main
from dlcore.report.figure import BLUE, GREEN, PINK, VERMILION, new_figure
from experiments.studies.small_runs import shuffled_digits

STEPS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.8)
"""Rounding steps of PCA's coefficients, for pixels in [0, 1]."""
QUALITIES = (5, 10, 20, 30, 50, 70)
"""Of JPEG."""
SIDE = 32


def mean_psnr(decoded: np.ndarray, images: np.ndarray) -> float:
    """Mean over images [N, ...] of the PSNR in dB; pixels in [0, 1]."""
    errors = np.square(np.clip(decoded, 0, 1) - images).reshape(len(images), -1).mean(1)
    return float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10))))


def envelope(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the points (bits, PSNR) that no point of as few bits reaches, in the order of bits."""
    best, front = -math.inf, []
    for bits, quality in sorted(points):
        if quality > best:
            best = quality
            front.append((bits, quality))
    return front


def psnr_at(points: list[tuple[float, float]], rate: float) -> float:
    """Interpolate the PSNR at a rate linearly between points; NaN outside of them."""
    bits, quality = np.transpose(envelope(points))
    return float(np.interp(rate, bits, quality, left=np.nan, right=np.nan))


def vq_point(
    images: np.ndarray, test: np.ndarray, *, seed: int, steps: int, num_codes: int = 64, width: int = 32
) -> tuple[float, float]:
    """Train a VQ-VAE on images [N, H, W, 3] uint8: (bits an image, mean PSNR) of its codes on the test images."""
    learner = vq_vae.learner(
        model=vq_vae.VQVAE(images.shape[1:], width, 16, 2, 1),
        optimizer=optax.adam(optax.cosine_decay_schedule(2e-3, steps)),
        num_codes=num_codes,
    )
    x = jnp.asarray(images)

    @jax.jit
    def trained(key):
        def step(state, key):
            index = jax.random.randint(key, (32,), 0, len(x))
            return learner.update(state, {"image": x[index], "index": index})[0], None

        state = learner.init(key, {"image": x[:256], "index": jnp.arange(len(x[:256]))})
        return jax.lax.scan(step, state, jax.random.split(key, steps))[0]

    state, predict = trained(jax.random.key(seed)), jax.jit(learner.predict)
    train, held_out = (predict(state, {"image": s, "index": np.arange(len(s))}) for s in (images[:1000], test))
    codes, train_codes = (np.asarray(out["codes"]).reshape(len(out["codes"]), -1) for out in (held_out, train))
    return float(level_bits(codes, train_codes).mean()), mean_psnr(np.asarray(held_out["reconstruction"]), test / 255)


def rates(images: np.ndarray, test: np.ndarray, components: tuple[int, ...]) -> tuple[dict, float]:
    """Measure points (bits, PSNR) of PCA, fitted to images [N, H, W, 3] uint8, and of JPEG on the test images.

    The second number is the largest relative deviation of PCA's training error from the sum of the dropped eigenvalues.
    """
    x, y = (a.reshape(len(a), -1).astype(np.float32) / 255 for a in (images, test))
    pca = fit_pca(x, max(components))
    left = dropped_variance(pca.variance, float(x.var(0, dtype=np.float64).sum()))
    deviation = 0.0
    for k in components:
        rest = x - pca.mean - (x - pca.mean) @ pca.basis[:, :k] @ pca.basis[:, :k].T
        deviation = max(deviation, abs(float(np.square(rest).sum(1).mean()) / left[k] - 1))
    points = {"PCA": [], "JPEG": []}
    for k in components:
        for step in STEPS:
            decoded, bits = pca_code(pca, y, x, k, step)
            points["PCA"].append((float(bits.mean()), mean_psnr(decoded, y)))
    for quality in QUALITIES:
        decoded, bits = zip(*(jpeg_code(image, quality) for image in test), strict=True)
        points["JPEG"].append((float(np.mean(bits)), mean_psnr(np.stack(decoded) / 255, test / 255)))
    return points, deviation


def summaries(sizes: tuple[int, ...], seed: int) -> dict[str, list[float]]:
    """Measure the accuracy of the nearest of n^2 prototypes of the digits by "k-means" and "SOM", for each size n."""
    digits = shuffled_digits()
    x, y = (a.reshape(len(a), -1) for a in (digits.images, digits.test_images))
    accuracies = {"k-means": [], "SOM": []}
    for side in sizes:
        key = jax.random.key(seed)
        for name, prototypes in (
            ("k-means", kmeans(key, x, side * side, restarts=3).centers),
            ("SOM", som(key, x, (side, side)).prototypes.reshape(side * side, -1)),
        ):
            accuracy = prototype_accuracy(prototypes, x, digits.labels, y, digits.test_labels)
            accuracies[name].append(accuracy)
    return accuracies


def judge(
    points: dict[str, list[tuple[float, float]]], rate: float, sizes: tuple[int, ...], accuracy: dict[str, list[float]]
) -> tuple[str, bool]:
    """Judge the points (bits, PSNR) and the accuracies of prototypes."""
    at = {name: psnr_at(points[name], rate) for name in ("PCA", "JPEG")}
    bits, quality = points["VQ-VAE"][0]
    beside = psnr_at(points["PCA"], bits)
    vq_ahead = bool(quality > beside)
    grows = all(np.all(np.diff(values) >= 0) and values[-1] > values[0] for values in accuracy.values())
    verdict = (
        f"At {rate:.0f} bits an image JPEG has {at['JPEG']:.1f} dB and PCA {at['PCA']:.1f} dB; the VQ-VAE has "
        f"{quality:.1f} dB at {bits:.0f} bits, where PCA has {beside:.1f} dB. From {sizes[0] ** 2} to "
        f"{sizes[-1] ** 2} prototypes the accuracy goes "
        + " and ".join(f"from {100 * v[0]:.1f} to {100 * v[-1]:.1f} % ({n})" for n, v in accuracy.items())
        + "."
    )
    return verdict, bool(grows and (at["JPEG"] > at["PCA"] or vq_ahead))


def draw(points, rate, sizes, accuracy):
    figure, (left, right) = new_figure((8.4, 3.6), columns=2, grid="both")
    for (name, rate_points), color in zip(points.items(), (BLUE, VERMILION, GREEN), strict=True):
        left.plot(*np.transpose(envelope(rate_points)), "o-", ms=3.5, color=color, label=name)
    left.axvline(rate, color="gray", lw=1, ls=":")
    left.set(xlabel="bits an image", ylabel="PSNR, dB", xscale="log")
    for (name, values), color in zip(accuracy.items(), (PINK, BLUE), strict=True):
        right.plot([s * s for s in sizes], 100 * np.array(values), "o-", color=color, label=name)
    right.set(xlabel="prototypes", ylabel="test accuracy, %", xscale="log")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=9)
    return figure


def study(
    *,
    rate: Annotated[float, Range(1)] = 1000.0,
    num_examples: Annotated[int, Range(16)] = 3000,
    num_test: Annotated[int, Range(2)] = 300,
    components: tuple[PositiveInt, ...] = (16, 32, 64, 128, 256, 512, 1024),
    vq_steps: PositiveInt = 1000,
    sizes: tuple[PositiveInt, ...] = (3, 5, 8, 12, 18),
    seed: Seed = 0,
) -> StudyResult:
    """Compress photographs by PCA, JPEG and a VQ-VAE, and summarize digits by prototypes.

    Args:
      rate: bits an image at which PCA and JPEG are compared.
      num_examples: crops to fit and to train on.
      num_test: crops to measure on.
      components: numbers of principal components.
      vq_steps: training steps of the VQ-VAE.
      sizes: sides of square grids of prototypes, rising.
    """
    images, test = (
        photo_crops(split, count, seed, SIDE).arrays["image"]
        for split, count in (("train", num_examples), ("test", num_test))
    )
    points, deviation = rates(images, test, components)
    points["VQ-VAE"] = [vq_point(images, test, seed=seed, steps=vq_steps)]
    accuracy = summaries(sizes, seed)
    verdict, holds = judge(points, rate, sizes, accuracy)
    numbers = {f"{name}: bits, dB": envelope(rate_points) for name, rate_points in points.items()}
    numbers |= {f"accuracy of prototypes, {name}": values for name, values in accuracy.items()}
    numbers["PCA: training error against dropped eigenvalues, relative"] = deviation
    headline = Headline(
        f"PSNR of JPEG at {rate:.0f} bits, dB",
        psnr_at(points["JPEG"], rate),
        "photographs",
        baseline=(psnr_at(points["PCA"], rate), "PCA at as many bits", "higher"),
    )
    return StudyResult(numbers, verdict, {"compression": draw(points, rate, sizes, accuracy)}, holds, headline=headline)


SMOKE = {"num_examples": 64, "num_test": 8, "components": (8, 32), "vq_steps": 2, "sizes": (2, 3)}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
