"""Numbers, shapes and entries that parts of generative techniques cannot take: each is named, nothing is broadcast."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative import (
    autoregressive,
    consistency,
    control_net,
    edm,
    flow_matching,
    latents,
    mask_git,
    samplers,
    schedules,
    score_sde,
    var,
    vq_vae,
)
from dlcore.generative.adaptive_augmentation import augment_images, update_probability
from dlcore.generative.autoencoder import activation_divergence, mean_activation
from dlcore.generative.condition import class_condition, read
from dlcore.generative.cycle_gan import Pool, draw_from
from dlcore.generative.dcgan import num_levels
from dlcore.generative.ddpm import diffuse, simple_loss
from dlcore.generative.denoising import denoising_learner, example_noise
from dlcore.generative.diffusion import NoiseSchedule, Sampling, check_sampling, interpolate, noise_of
from dlcore.generative.diffusion import sample as draw
from dlcore.generative.discriminator_features import discriminator_features
from dlcore.generative.dit import modulate
from dlcore.generative.editing import strength_grid
from dlcore.generative.energy_based import contrastive_energy_loss, langevin_sample
from dlcore.generative.flux import image_positions
from dlcore.generative.fvbn import made_masks
from dlcore.generative.guidance import guide_interval
from dlcore.generative.image_to_image import paired_learner
from dlcore.generative.latent_diffusion import latent_scale
from dlcore.generative.lcm import lcm_timesteps
from dlcore.generative.levels import encode, num_outputs, to_logits
from dlcore.generative.likelihood import categorical_log_likelihood, likelihood_metrics, nats_to_bits
from dlcore.generative.normalizing_flow import dequantize
from dlcore.generative.personalization import object_pixels
from dlcore.generative.pixels import check_shape, halve_sides
from dlcore.generative.ring import ring_centers, ring_points
from dlcore.generative.style_gan import noise_maps, noise_sizes
from dlcore.generative.style_gan2_networks import minibatch_deviation
from dlcore.generative.super_resolution import enlarge, sharpness
from dlcore.generative.tcd import tcd_sample
from dlcore.generative.text_to_image import prompt_condition
from dlcore.generative.two_players import discriminator_metrics, sample_latents
from dlcore.generative.unet import timestep_embedding
from dlcore.generative.vae import log_normal
from dlcore.generative.vq_gan import perceptual_distance
from dlcore.generative.vq_vae_prior import code_learner

KEY, KEYS = jax.random.key(0), jax.random.split(jax.random.key(0), 3)
TWO, THREE, PAIRS, IMAGES = (jnp.ones(shape) for shape in (2, 3, (3, 2), (3, 4, 4, 1)))
CODES = np.zeros((3, 2, 2, 1), np.int32)
LEVELS = SimpleNamespace(levels=4, num_codes=5, scales=(1, 2))
ABAR = np.array([0.9, 0.5])
GRID = schedules.SamplingGrid(np.array([1, 0]), np.array([0.5, 0.9, 1.0]))
POOL = Pool(jnp.ones((2, 4, 4, 1)), jnp.zeros((), jnp.int32))
SDE = score_sde.SDE()


def one_row(x, *rest):
    return x[:1]


def completed(keys=KEYS, shape=(2, 2, 1), **options):
    return autoregressive.sample(LEVELS, None, keys, shape, **options)


def learned(shape=(4, 4, 1), dropout=0.0):
    parts = dict.fromkeys(("model", "optimizer", "losses", "draw", "condition", "encode", "decode"))
    return denoising_learner(**parts, shape=shape, frozen=(), condition_dropout=dropout)


def decoded(keys=KEYS, grid=(2, 2), **options):
    return mask_git.sample(LEVELS, None, keys, grid, **options)


def translated(**weights):
    names = ("generator", "discriminator", "generator_optimizer", "discriminator_optimizer")
    parts = dict.fromkeys((*names, "source", "target", "content", "measure"))
    weights = {"adversarial_weight": 1.0, "content_weight": 1.0} | weights
    return paired_learner(**parts, loss="hinge", sees_source=True, **weights)


CASES = {
    "images of a step": (lambda: update_probability(0.5, 0.1, -1, 0.6, 100), "num_images=-1: out of range"),
    "mask of codes": (lambda: mean_activation(PAIRS, TWO), r"mask=float32\[2\]: wrong shape"),
    "no activation": (lambda: activation_divergence(TWO, 0.0), "rho=0: out of range; allowed: above 0"),
    "all activation": (lambda: activation_divergence(TWO, 1.0), "rho=1: out of range"),
    "shape of a sample": (
        lambda: completed(shape=(2, 2)),
        r"shape=\(2, 2\): no shape of an example; allowed: sizes of 3",
    ),
    "side of a sample": (lambda: completed(shape=(2, 2.5, 1)), "shape=2.5: no whole number"),
    "temperature of a sample": (lambda: completed(temperature=-1.0), "temperature=-1: out of range"),
    "given without known": (lambda: completed(given=CODES), "given and known: one is None"),
    "level of a given": (lambda: completed(given=CODES + 4, known=CODES > 0), r"given\[0, 0, 0, 0\]=4: out of range"),
    "known": (lambda: completed(given=CODES, known=CODES[..., 0] > 0), r"known=\[3, 2, 2\]: wrong shape"),
    "labels of samples": (lambda: completed(label=np.zeros(2, int)), r"label=\[2\]: wrong shape"),
    "shape of a dependence": (lambda: autoregressive.dependence(LEVELS, None, (0, 2, 1), KEY), "shape=0: out of range"),
    "shape of a likelihood": (
        lambda: autoregressive.learner(model=None, optimizer=None, shape=(-1, 2, 1)),
        "shape=-1",
    ),
    "class": (lambda: class_condition(3).read({"label": np.array([0, 4])}), r"label\[1\]=4: out of range"),
    "batch without a class": (lambda: class_condition(3, "kind").read({"label": TWO}), "batch: has no 'kind'"),
    "batch without a text": (lambda: prompt_condition().read({}), "batch: has no 'tokens'"),
    "batch without a hint": (lambda: control_net.control_condition().read({"tokens": TWO}), "batch: has no 'hint'"),
    "dropout": (lambda: read(prompt_condition(), {"tokens": TWO}, KEYS, 1.5), "dropout=1.5: out of range"),
    "dropout without keys": (
        lambda: read(prompt_condition(), {"tokens": TWO}, None, 0.5),
        "keys=None: dropout=0.5 draws",
    ),
    "edges of floats": (lambda: control_net.edge_map(np.ones((1, 4, 4, 3))), "images=.*: no levels of 255"),
    "slope of an edge": (
        lambda: control_net.edge_map(np.ones((1, 4, 4, 3), np.uint8), np.nan),
        "least=nan: out of range",
    ),
    "step of a training": (lambda: consistency.discretization_steps(-1, 100), "step=-1: no count"),
    "steps of a training": (lambda: consistency.discretization_steps(0, 100.5), "num_steps=100.5: no whole number"),
    "most intervals": (lambda: consistency.discretization_steps(0, 100, 10, np.nan), "s1=nan: no whole number"),
    "half a level": (lambda: consistency.sample_intervals(KEYS, 6.5), "num_levels=6.5: no whole number"),
    "deviation of examples": (
        lambda: consistency.consistency_loss(None, KEYS, PAIRS, 5, sigma_data=0.0),
        "sigma_data=0: out of range",
    ),
    "rows of levels": (lambda: samplers.check_falling("sigmas", PAIRS), r"levels=float32\[3, 2\]: wrong shape"),
    "fakes of another size": (
        lambda: draw_from(POOL, KEY, IMAGES[:, :2], THREE),
        r"fakes=float32\[3, 2, 4, 1\]: wrong",
    ),
    "mask of fakes": (lambda: draw_from(POOL, KEY, IMAGES, TWO), r"mask=float32\[2\]: wrong shape"),
    "half a side": (lambda: num_levels(8.5), "side=8.5: no whole number"),
    "target of a diffusion": (lambda: diffuse(KEYS, PAIRS, ABAR, "noise"), "prediction='noise': unknown"),
    "rows of a schedule": (lambda: diffuse(KEYS, PAIRS, ABAR[None]), r"alphas_cumprod=float32\[1, 2\]: wrong shape"),
    "schedule": (lambda: diffuse(KEYS, PAIRS, 2 * ABAR), r"alphas_cumprod\[0\]=1.8: out of range"),
    "output of a network": (
        lambda: simple_loss(one_row, KEYS, PAIRS, (), ABAR),
        r"output=float32\[1, 2\]: wrong shape",
    ),
    "keys of noise": (lambda: example_noise(KEYS[:2], PAIRS), "keys=.*: wrong shape"),
    "shape of a diffusion": (lambda: learned(shape=(4, -1, 1)), "shape=-1: out of range"),
    "dropout of a diffusion": (lambda: learned(dropout=np.nan), "condition_dropout=nan: out of range"),
    "prediction": (
        lambda: check_sampling(NoiseSchedule(), Sampling(), "noise", False),
        "prediction='noise': unknown; allowed: epsilon, v, sample",
    ),
    "one key": (lambda: noise_of(KEY, (2,)), "keys=.*: wrong shape"),
    "two keys": (lambda: interpolate(None, KEYS, TWO, (2,), ABAR), "keys=.*: wrong shape"),
    "half a cell": (lambda: discriminator_features(None, None, IMAGES, 2.5), "grid=2.5: no whole number"),
    "scale of tokens": (lambda: modulate(IMAGES[..., 0], IMAGES[:, 0, :, 0], PAIRS), r"scale=float32\[3, 2\]: wrong"),
    "noise of an example": (lambda: schedules.add_noise(PAIRS, PAIRS[:1], 0.5), r"noise=float32\[1, 2\]: wrong shape"),
    "whole pixels": (
        lambda: schedules.add_noise(PAIRS.astype(int), PAIRS, 0.5),
        r"x=int32\[3, 2\]: no place for noise",
    ),
    "whole examples": (lambda: example_noise(KEYS, PAIRS.astype(int)), "x=int32.*: no place for noise"),
    "whole path": (lambda: flow_matching.flow_path(PAIRS.astype(int), PAIRS, 0.5), "x=int32.*: no place for noise"),
    "whole output": (lambda: samplers.read_prediction(CODES, CODES, 0.5), "x=int32.*: no place for noise"),
    "bytes": (lambda: augment_images(KEYS, IMAGES.astype(jnp.uint8), 0.5), "images=uint8.*: no place for noise"),
    "no noise": (lambda: schedules.add_noise(PAIRS, None, 0.5), "noise=None: no place for noise"),
    "no beta": (lambda: schedules.linear_betas(10, None), "beta_start=None: no number"),
    "no level": (lambda: schedules.karras_sigmas(5, None), "sigma_min=None: no number"),
    "no strength": (lambda: strength_grid(GRID, None), "strength=None: no number"),
    "word for an equation": (lambda: score_sde.SDE("vq").marginal(0.5), "sde='vq': unknown; allowed: ve, vp"),
    "jump": (
        lambda: tcd_sample(None, PAIRS, None, GRID._replace(train_alphas_cumprod=ABAR[:1])),
        r"timesteps\[0\]=1: out of range; allowed: 0 to 0",
    ),
    "number for a shape": (lambda: draw(None, KEYS, 2, ABAR, num_inference_steps=1), "shape=2: no shape of an example"),
    "noise of a walk": (
        lambda: langevin_sample(jnp.sum, PAIRS, lambda k: TWO, num_steps=1, step_size=0.1),
        r"noise=float32\[2\]: wrong shape",
    ),
    "conditions of other examples": (
        lambda: samplers.branches(one_row, TWO, TWO)(PAIRS, 0),
        "conditions: of 2 examples; allowed: 3",
    ),
    "levels of floats": (
        lambda: categorical_log_likelihood(jnp.ones((3, 2, 4)), PAIRS),
        r"x=float32\[3, 2\]: wrong shape or dtype; allowed: int",
    ),
    "noise of a target": (lambda: samplers.target_of(PAIRS, PAIRS[:1], 0.5), r"eps=float32\[1, 2\]: wrong shape"),
    "preconditioning": (lambda: edm.precondition(one_row, np.nan), "sigma_data=nan: out of range"),
    "output that is scaled": (lambda: edm.precondition(one_row)(PAIRS, 1.0), r"output=float32\[1, 2\]: wrong shape"),
    "mean of levels": (lambda: edm.sample_sigmas(KEYS, np.nan), "p_mean=nan: not finite"),
    "weights of levels": (lambda: edm.edm_loss(one_row, KEYS, PAIRS, sigma_data=0.0), "sigma_data=0: out of range"),
    "penalty": (lambda: contrastive_energy_loss(TWO, TWO, -1.0), "energy_penalty=-1: out of range"),
    "steps of a walk": (
        lambda: langevin_sample(None, PAIRS, None, num_steps=2.5, step_size=0.1),
        "num_steps=2.5: no whole number",
    ),
    "noise of a flow": (lambda: flow_matching.flow_path(PAIRS, PAIRS[:1], 0.5), r"noise=float32\[1, 2\]: wrong shape"),
    "times of a flow": (lambda: flow_matching.flow_path(PAIRS, PAIRS, TWO), r"t=float32\[2\]: wrong shape"),
    "keys of times": (lambda: flow_matching.sample_times(KEY), "keys=.*: wrong shape"),
    "velocity": (
        lambda: flow_matching.reflow_loss(one_row, PAIRS, PAIRS, THREE),
        r"velocity=float32\[1, 2\]: wrong shape",
    ),
    "rising times": (lambda: flow_matching.path_straightness(PAIRS, np.arange(3.0)), "times=.*: allowed: falling"),
    "endless shift": (lambda: flow_matching.flow_times(3, np.inf), "shift=inf: not finite"),
    "rows of patches": (lambda: image_positions(0, 2), "rows=0: out of range"),
    "hidden units": (lambda: made_masks(3, [2.5]), "hidden_sizes=2.5: no whole number"),
    "interval": (lambda: guide_interval(None, TWO, TWO, 2.0, interval=(0, 1, 2)), r"interval=\(0, 1, 2\): empty"),
    "scale": (lambda: guide_interval(None, TWO, TWO, np.nan), "scale=nan: not finite"),
    "conditions": (lambda: samplers.branches(None, TWO, THREE), r"null: of shapes \(3,\); allowed: \(2,\)"),
    "rows of a network": (
        lambda: samplers.branches(lambda x, t, y: x[:2], THREE, THREE)(PAIRS, 0),
        r"network: gives float32\[2, 2\]; allowed: 6 rows",
    ),
    "timesteps of a grid": (
        lambda: samplers.check_grid(GRID._replace(timesteps=np.arange(3)), "v"),
        "alphas_cumprod: 3 of 3 timesteps; allowed: one more than timesteps",
    ),
    "level of a grid": (
        lambda: samplers.check_grid(GRID._replace(alphas_cumprod=-GRID.alphas_cumprod), "v"),
        r"alphas_cumprod\[0\]=-0.5: out of range",
    ),
    "step of a sampler": (
        lambda: samplers.walk(lambda x, extra, *row: (x[:1], extra), PAIRS, None, ABAR),
        r"x=float32\[3, 2\]: a step gives \[1, 2\]",
    ),
    "weight of a player": (lambda: translated(adversarial_weight=np.nan), "adversarial_weight=nan: out of range"),
    "weight of the content": (lambda: translated(content_weight=-1.0), "content_weight=-1: out of range"),
    "no latent": (lambda: latent_scale(IMAGES[:0], IMAGES[:0]), "latents=0: out of range"),
    "variances of fewer latents": (lambda: latent_scale(IMAGES, IMAGES[:1]), "logvar=.*: wrong shape"),
    "codes of a walk": (lambda: latents.arcs(PAIRS, PAIRS[:1], 3), r"b=float32\[1, 2\]: wrong shape"),
    "steps between codes": (lambda: latents.arcs(PAIRS, PAIRS, 2.5), "num_steps=2.5: no whole number"),
    "no dimension": (lambda: latents.traverse(TWO, (), TWO), "number=0: out of range"),
    "direction": (lambda: latents.edit(PAIRS, THREE, TWO), r"direction=float32\[3\]: wrong shape"),
    "directions": (lambda: latents.principal_directions(np.eye(3), 1.5), "count=1.5: no whole number"),
    "timesteps": (lambda: lcm_timesteps(10.5, 2, 5), "num_timesteps=10.5: no whole number"),
    "levels to see": (lambda: encode(TWO, 2.5), "levels=2.5: no whole number"),
    "levels to predict": (lambda: num_outputs(2.5), "levels=2.5: no whole number"),
    "outputs": (lambda: to_logits(PAIRS, 3), r"h=float32\[3, 2\]: wrong shape or dtype; allowed: \[.*3\]"),
    "dimensions": (lambda: nats_to_bits(TWO, 2.5), "dimensions=2.5: no whole number"),
    "mask of a likelihood": (lambda: likelihood_metrics(THREE, 4, "static", TWO), r"mask=float32\[2\]: wrong shape"),
    "code": (lambda: mask_git.mask_codes(KEY, CODES[..., 0][0] + 5, 1, 5), r"codes\[0, 0\]=5: out of range"),
    "passes": (lambda: decoded(num_steps=2.5), "num_steps=2.5: no whole number"),
    "temperature of codes": (lambda: decoded(temperature=-1.0), "temperature=-1: out of range"),
    "grid": (lambda: decoded(grid=(2, 2, 1)), r"grid=\(2, 2, 1\): wrong axes; allowed: \(h, w\)"),
    "level": (lambda: dequantize(KEYS, CODES + 2, 2), r"x\[0, 0, 0, 0\]=2: out of range"),
    "keys of pixels": (lambda: dequantize(KEYS[:2], CODES, 2), "keys=.*: wrong shape"),
    "side of an object": (lambda: object_pixels(np.ones((1, 4, 4, 3)), 0), "side=0: out of range"),
    "nested shape": (lambda: check_shape(3), "shape=3: no shape of an example; allowed: sizes of axes"),
    "halvings": (lambda: halve_sides((4, 4, 1), 1.5), "halvings=1.5: no whole number"),
    "modes": (lambda: ring_centers(2.5), "num_modes=2.5: no whole number"),
    "points": (lambda: ring_points(2.5, 0), "num_points=2.5: no whole number"),
    "seed": (lambda: ring_points(2, -1), "seed=-1: too small"),
    "rows of betas": (lambda: schedules.alphas_cumprod(PAIRS), r"betas=float32\[3, 2\]: wrong shape"),
    "time": (lambda: SDE.marginal(1.5), "t=1.5: out of range; allowed: 0 to 1"),
    "rate at a time": (lambda: SDE.rates(-0.5), "t=-0.5: out of range"),
    "score": (lambda: score_sde.score_of(one_row, SDE)(PAIRS, 0.5), r"output=float32\[1, 2\]: wrong shape"),
    "score of a loss": (lambda: score_sde.score_loss(one_row, KEYS, PAIRS, SDE), r"score=float32\[1, 2\]: wrong shape"),
    "level that is no number": (
        lambda: score_sde.annealed_langevin(None, PAIRS, None, np.array([1, np.nan])),
        "sigmas=.*: do not fall",
    ),
    "steps of an equation": (
        lambda: score_sde.flow_log_likelihood(None, PAIRS, SDE, num_steps=2.5),
        "num_steps=2.5: no whole number",
    ),
    "shape of noise": (lambda: noise_sizes((4, 4)), r"shape=\(4, 4\): no shape of an example"),
    "numbers of noise": (lambda: noise_maps(PAIRS, [(2, 2)]), r"noise=float32\[3, 2\]: wrong shape"),
    "group": (lambda: minibatch_deviation(IMAGES, 2.5), "group_size=2.5: no whole number"),
    "factor": (lambda: enlarge(IMAGES, 0), "factor=0: out of range"),
    "one pixel": (lambda: sharpness(IMAGES[:, :1]), "side=1: out of range; allowed: at least 2"),
    "numbers of a latent": (lambda: sample_latents(0, KEY, {"index": np.arange(2)}), "latent_dim=0: out of range"),
    "shares of latents": (
        lambda: sample_latents(2, KEY, {"ends": np.zeros((3, 2), int), "share": TWO}),
        r"share=float32\[2\]: wrong shape",
    ),
    "logits of fakes": (lambda: discriminator_metrics(THREE, TWO, THREE), r"fake_logits=float32\[2\]: wrong shape"),
    "period": (lambda: timestep_embedding(TWO, 4, 0.0), "max_period=0: out of range; allowed: above 0"),
    "features at a period": (lambda: timestep_embedding(TWO, 2, ends_at_period=True), "features=2: out of range"),
    "mean of a density": (lambda: log_normal(PAIRS, TWO, 0.0), r"mean=float32\[2\]: wrong shape"),
    "temperature of scales": (
        lambda: var.sample(LEVELS, None, jnp.ones((5, 2)), KEYS, temperature=-1.0),
        "temperature=-1: out",
    ),
    "vectors of scales": (lambda: var.sample(LEVELS, None, PAIRS, KEYS), r"vectors=float32\[3, 2\]: wrong shape"),
    "layer": (lambda: perceptual_distance({"a": IMAGES}, {"b": IMAGES}), r"targets: of layers \['b'\]; allowed"),
    "encoding": (lambda: vq_vae.nearest_codes(PAIRS * np.nan, PAIRS), r"z\[0, 0\]=nan: not finite"),
    "codes of a prior": (lambda: vq_vae.prior_loss(None, None, IMAGES, THREE), r"codes=float32\[3, 4, 4, 1\]: wrong"),
    "number of codes": (lambda: code_learner(None, None, None, 0), "num_codes=0: out of range"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
