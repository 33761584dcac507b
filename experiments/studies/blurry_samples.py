"""Are the samples of a VAE with an L2 loss blurry, and those of adversarial losses not?

python -m experiments.studies.blurry_samples              (power 0.62, 0.85 with an adversary, 0.99 of the GAN)

One small decoder G learns digits in three ways, D being a discriminator of real digits and samples G(z), z ~ N(0, I):

    L2 VAE            |x - G(z_q)|^2 / (2 s^2) + KL(q(z|x) || N(0, I)),   z_q ~ q(z|x)
    adversarial VAE   the same, and -log D(G(z))
    GAN               -log D(G(z)) alone

The best answer to L2 under doubt is the mean of the images that are possible, and a mean has fewer edges than each of
them. Measured is the power of samples at high frequencies, above a quarter of a cycle a pixel, over that of real
digits, and the Fréchet distance in the features of a classifier. The claim holds where the power of the L2 VAE is below
that of real digits and below that of both others, on average over the seeds.

References: Larsen et al. 2016, arXiv:1512.09300; Dosovitskiy & Brox 2016, arXiv:1602.02644.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.evaluators.frechet import frechet_of_features
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.generative.vae import kl_to_standard_normal, reparameterize
from dlcore.losses import discriminator_loss, non_saturating_generator_loss, softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.nn import leaky_relu
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure, seed_dots, show_image
from experiments.studies.small_runs import minimize, shuffled_digits

ARMS = {"L2 VAE": (1.0, 0.0), "adversarial VAE": (1.0, 1.0), "GAN": (0.0, 1.0)}
"""Weights of the bound and of the adversarial loss."""

LATENT, BATCH = 8, 64
ADVERSARIAL = 10.0
"""Weight of -log D(G(z)) beside a bound in nats."""


class Mlp(nn.Module):
    """Two hidden layers."""

    features: int
    width: int = 128

    @nn.compact
    def __call__(self, x):
        """[B, ...] -> (outputs [B, features], hidden [B, width])."""
        x = x.reshape(x.shape[0], -1)
        for i in range(2):
            x = leaky_relu(nn.Dense(self.width, name=f"dense{i}")(x), 0.2)
        return nn.Dense(self.features, name="out")(x), x


def high_power(images: jax.Array, above: float = 0.25) -> jax.Array:
    """Measure the mean power of images [N, H, W, 1] at radial frequencies above so many cycles a pixel."""
    power = jnp.square(jnp.abs(jnp.fft.fft2(images[..., 0], norm="ortho"))).mean(0)
    rows, columns = (jnp.fft.fftfreq(n) for n in images.shape[1:3])
    return power[jnp.hypot(rows[:, None], columns) > above].mean()


def train(weights, key, images: jax.Array, steps: int, pixel_variance: float, r1: float = 0.1):
    """Train the arm of these weights [2], and draw 1,000 samples."""
    encoder, decoder, critic = Mlp(2 * LATENT), Mlp(images[0].size), Mlp(1)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, steps), b1=0.5)

    def init(net, k, inputs):
        return net.init(jax.random.fold_in(key, k), inputs)["params"]

    vae_params = {"encoder": init(encoder, 0, images[:1]), "decoder": init(decoder, 1, jnp.zeros((1, LATENT)))}
    discriminator_params = init(critic, 2, images[:1])

    def generate(params, z):
        return jax.nn.sigmoid(decoder.apply({"params": params}, z)[0]).reshape(-1, *images.shape[1:])

    def logits(params, x):
        return critic.apply({"params": params}, x)[0][:, 0]

    def bound(vae_params, x, key):
        mean, log_variance = jnp.split(encoder.apply({"params": vae_params["encoder"]}, x)[0], 2, -1)
        y = generate(vae_params["decoder"], reparameterize(key, mean, log_variance))
        errors = jnp.square(y - x).sum((1, 2, 3)) / (2 * pixel_variance)
        return (errors + kl_to_standard_normal(mean, log_variance).sum(-1)).mean()

    def step(carry, k):
        vae_params, discriminator_params, states = carry
        keys = jax.random.split(jax.random.fold_in(key, 3 + k), 4)
        x = images[jax.random.choice(keys[0], len(images), (BATCH,), replace=False)]
        z, new_z = (jax.random.normal(k, (BATCH, LATENT)) for k in keys[1:3])

        def critic_loss(discriminator_params):
            fake = generate(vae_params["decoder"], z)
            grad_x = jax.grad(lambda x: logits(discriminator_params, x).sum())(x)
            penalty = 0.5 * r1 * jnp.square(grad_x).sum((1, 2, 3))
            return (
                discriminator_loss(logits(discriminator_params, x), logits(discriminator_params, fake)) + penalty
            ).mean()

        updates, discriminator_state = optimizer.update(jax.grad(critic_loss)(discriminator_params), states[1])
        discriminator_params = optax.apply_updates(discriminator_params, updates)

        def generator_loss(vae_params):
            adv_loss = non_saturating_generator_loss(
                logits(discriminator_params, generate(vae_params["decoder"], new_z))
            ).mean()
            return weights[0] * bound(vae_params, x, keys[3]) + weights[1] * ADVERSARIAL * adv_loss

        updates, vae_state = optimizer.update(jax.grad(generator_loss)(vae_params), states[0])
        return (optax.apply_updates(vae_params, updates), discriminator_params, (vae_state, discriminator_state)), None

    carry = (vae_params, discriminator_params, (optimizer.init(vae_params), optimizer.init(discriminator_params)))
    (vae_params, _, _), _ = jax.lax.scan(step, carry, jnp.arange(steps))
    return generate(vae_params["decoder"], jax.random.normal(jax.random.fold_in(key, 2**20), (1000, LATENT)))


def features_of(images: jax.Array, labels: jax.Array, steps: int):
    """Train a classifier; returns images -> its last hidden layer [N, 128]."""
    net, optimizer = Mlp(10), optax.adam(2e-3)
    params = net.init(jax.random.key(1), images[:1])["params"]

    def loss(params, k):
        rows = jax.random.choice(jax.random.fold_in(jax.random.key(2), k), len(images), (BATCH,), replace=False)
        return softmax_cross_entropy_loss(net.apply({"params": params}, images[rows])[0], labels[rows]).mean()

    params, _ = jax.jit(lambda params: minimize(loss, params, optimizer, jnp.arange(steps)))(params)
    return jax.jit(lambda x: net.apply({"params": params}, x)[1])


def samples(num_seeds: int, steps: int, pixel_variance: float) -> dict[str, np.ndarray]:
    """Draw 1,000 samples of each arm: {arm: [seeds, 1000, 8, 8, 1]}."""
    images = jnp.asarray(shuffled_digits().images)

    @jax.jit
    def run(weights, keys):
        return jax.vmap(lambda w: jax.vmap(lambda key: train(w, key, images, steps, pixel_variance))(keys))(weights)

    arm_samples = np.asarray(run(jnp.array(list(ARMS.values())), jax.random.split(jax.random.key(0), num_seeds)))
    return dict(zip(ARMS, arm_samples, strict=True))


def report(
    power: dict[str, np.ndarray], frechet: dict[str, np.ndarray], pictures: dict[str, np.ndarray] | None = None
) -> StudyResult:
    """Judge {arm: high-frequency power over that of real digits [seeds]}, with {arm: Fréchet distances [seeds]}."""
    means = {arm: float(power[arm].mean()) for arm in ARMS}
    blurry, *other_power = means.values()
    holds = bool(blurry < min(1.0, *other_power))
    verdict = (
        "Power at high frequencies over that of real digits, and Fréchet distance: "
        + "; ".join(f"{arm} {means[arm]:.2f}, {frechet[arm].mean():.2f}" for arm in ARMS)
        + f". Samples of the L2 VAE are {'the blurriest' if holds else 'NOT the blurriest'}."
    )
    numbers = {f"high-frequency power, {arm}": power[arm].tolist() for arm in ARMS}
    numbers |= {f"Fréchet distance, {arm}": frechet[arm].tolist() for arm in ARMS}
    figures = {"power": draw(power)}
    if pictures is not None:
        figures["samples"] = draw_samples(pictures)
    headline = Headline("high-frequency power of L2 VAE samples", power["L2 VAE"], "digits")
    return StudyResult(numbers, verdict, figures, holds, headline)


def draw(power):
    figure, axes = new_figure((5, 3.4))
    seed_dots(axes, {arm: power[arm] for arm in ARMS}, (BLUE, VERMILION, GREEN))
    axes.axhline(1, color=GRAY, ls=":", lw=1, label="real digits")
    axes.set(ylabel="power at high frequencies, relative", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


def draw_samples(pictures):
    from dlcore.report.generative import picture_grid

    figure, all_axes = new_figure((8, 2.4), 1, len(pictures))
    for axes, (name, images) in zip(all_axes, pictures.items(), strict=True):
        show_image(axes, picture_grid(images[:32], 8)[..., 0], name, cmap="gray")
    return figure


def study(*, num_seeds: PositiveInt = 3, steps: PositiveInt = 4000, pixel_variance: float = 0.05) -> StudyResult:
    """Compare the sharpness of samples of three losses.

    Args:
      pixel_variance: s^2 of the L2 loss.
    """
    data, arm_samples = shuffled_digits(), samples(num_seeds, steps, pixel_variance)
    real = jnp.asarray(data.images)
    features = features_of(real, jnp.asarray(data.labels), min(steps, 600))
    reference, scale = np.asarray(features(real)), float(high_power(real))
    power = {arm: np.array([float(high_power(x)) / scale for x in arm_samples[arm]]) for arm in ARMS}
    frechet = {
        arm: np.array([frechet_of_features(np.asarray(features(x)), reference) for x in arm_samples[arm]])
        for arm in ARMS
    }
    return report(power, frechet, {"real digits": data.images[:32], **{arm: arm_samples[arm][0] for arm in ARMS}})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 2})

if __name__ == "__main__":
    main(experiment)
