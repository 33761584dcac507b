"""Arguments of parts of generative techniques that do not fit: each is named before anything is computed."""

import jax
import numpy as np
import pytest

from dlcore.generative.adaptive_augmentation import augment_images, update_probability
from dlcore.generative.autoencoder import activation_divergence
from dlcore.generative.autoencoder_tiny import AutoencoderTiny
from dlcore.generative.condition import check_guidance, class_condition
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.consistency import (
    ConsistencyLevels,
    consistency_sample,
    discretization_steps,
    pseudo_huber,
    sample_intervals,
)
from dlcore.generative.dcgan import num_levels
from dlcore.generative.ddpm import diffuse, min_snr_weight
from dlcore.generative.diffusion import NoiseSchedule, noise_of
from dlcore.generative.diffusion import sample as draw
from dlcore.generative.dit import DiT
from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.editing import Editing, composite, edit_images
from dlcore.generative.edm import edm_factors, edm_sample, sample_sigmas
from dlcore.generative.energy_based import contrastive_energy_loss, langevin_sample
from dlcore.generative.flow_matching import path_straightness
from dlcore.generative.flux import Flux
from dlcore.generative.fvbn import made_masks
from dlcore.generative.guidance import autoguide, guide_interval, rescale_guidance
from dlcore.generative.latent_diffusion import latent_scale
from dlcore.generative.latents import arcs, slerp, traverse
from dlcore.generative.levels import encode, num_outputs, to_logits
from dlcore.generative.likelihood import bayes_rule
from dlcore.generative.mask_git import mask_codes, num_masked, sample
from dlcore.generative.normalizing_flow import dequantize
from dlcore.generative.samplers import (
    check_falling,
    condition,
    ddpm_sample,
    euler_sample,
    guide,
    read_prediction,
    target_of,
)
from dlcore.generative.two_stream import JointAttention
from dlcore.generative.unet import UNet, timestep_embedding
from dlcore.generative.vae import kl_to_standard_normal, reparameterize
from dlcore.generative.var import ScaleTransformer, residual_quantize
from dlcore.generative.vq_gan import adaptive_weight, perceptual_distance
from dlcore.generative.vq_vae import (
    Codebook,
    codebook_from,
    codebook_usage,
    nearest_codes,
    reconstruction_loss,
    straight_through,
    update_codebook,
)
from tests.generative.test_samplers import grid_of

KEY, KEYS = jax.random.key(0), jax.random.split(jax.random.key(0), 2)
ONE, TWO, THREE = np.ones(1, np.float32), np.ones(2, np.float32), np.ones(3, np.float32)
PAIRS, IMAGES = np.ones((3, 2), np.float32), np.ones((2, 4, 4, 1), np.float32)
BOOK = Codebook(np.ones((5, 2), np.float32), np.ones(5, np.float32), np.ones((5, 2), np.float32))
CODES = np.zeros((2, 3), np.int32)


def updated(book=BOOK, z=PAIRS, codes=np.zeros(3, np.int32), mask=THREE, **options):
    return update_codebook(book, z, codes, mask, KEY, **options)


def reconstructed(y=IMAGES, x=IMAGES, commitment_losses=TWO, mask=TWO, commitment=0.25):
    return reconstruction_loss(y, x, commitment_losses, mask, commitment)


def started(network, *inputs):
    return jax.eval_shape(network.init, KEY, *inputs)


def flux(positions=np.zeros((4, 3)), guidance=None, **fields):
    network = Flux(**{"width": 32, "num_heads": 2, "depth": 0, "single_depth": 0} | fields)
    return started(network, np.ones((1, 4, 4)), ONE, np.ones((1, 2, 5)), np.ones((1, 6)), positions, None, guidance)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("keys=", lambda: augment_images(KEYS[None], IMAGES, 0.5)),
        ("mean_sign=2", lambda: update_probability(0.5, 2.0, 3, 0.6, 9)),
        ("probability=2", lambda: update_probability(2.0, 0.5, 3, 0.6, 9)),
        ("images_to_one=0", lambda: update_probability(0.5, 0.5, 3, 0.6, 0)),
        ("rho=2", lambda: activation_divergence(TWO, 2.0)),
        ("num_classes=0", lambda: class_condition(0)),
        ("guidance=inf", lambda: check_guidance(np.inf, True)),
        ("num_levels=1", lambda: sample_intervals(KEYS, 1, ConsistencyLevels())),
        ("sigma_min=2", lambda: sample_intervals(KEYS, 3, ConsistencyLevels(sigma_min=2.0, sigma_max=1.0))),
        ("sigmas=.*do not fall", lambda: consistency_sample(None, PAIRS, None, np.array([1.0, 2.0]))),
        ("side=0", lambda: num_levels(0)),
        ("keys=", lambda: diffuse(KEYS, PAIRS, [0.5])),
        ("beta_schedule='even'", lambda: NoiseSchedule(beta_schedule="even").alphas_cumprod()),
        ("keys=", lambda: noise_of(KEYS, (2,), TWO)),
        ("shape=.*holds nothing", lambda: draw(None, KEYS, (2, 0), np.array([0.5]))),
        (r"shares\[.*=2|shares=2", lambda: draw(None, KEYS, (2,), np.array([0.5]), shares=np.array([2.0, 0]))),
        ("s0=0", lambda: discretization_steps(1, 5, 0, 5)),
        ("num_steps=0", lambda: discretization_steps(1, 0)),
        ("c=0", lambda: pseudo_huber(PAIRS, PAIRS, 0.0)),
        ("gamma=0", lambda: min_snr_weight(0.5, 0.0)),
        (r"alpha_cumprod=2", lambda: min_snr_weight(2.0)),
        (r"times\[1\]=nan", lambda: path_straightness(IMAGES, np.array([1, np.nan]))),
        ("times=1: of 1 points", lambda: path_straightness(IMAGES[:1], ONE)),
        ("dimensions=0", lambda: made_masks(0, (3,))),
        ("hidden_sizes=0", lambda: made_masks(4, (3, 0))),
        ("z=", lambda: residual_quantize(PAIRS, PAIRS, (1, 2))),
        ("vectors=", lambda: residual_quantize(IMAGES, PAIRS, (1, 2, 4))),
        ("output=.*another shape than x", lambda: read_prediction(PAIRS, IMAGES, 0.5)),
        ("prediction='noise'", lambda: read_prediction(PAIRS, PAIRS, 0.5, "noise")),
        ("prediction='noise'", lambda: target_of(PAIRS, PAIRS, 0.5, "noise")),
        ("log_likelihood=", lambda: bayes_rule(np.float32(1), np.log(np.array([0.5, 0.5])))),
        ("fractions=", lambda: noise_of(KEYS[None], (2,), TWO)),
        ("order=3", lambda: dpmpp_sample(None, PAIRS, None, grid_of(2), order=3)),
        ("method='paint'", lambda: edit_images(Editing("paint"), None, None, IMAGES, IMAGES, None, grid_of(2))),
        ("strength=2", lambda: edit_images(Editing(strength=2.0), None, None, IMAGES, IMAGES, None, grid_of(2))),
        ("resamples=0", lambda: edit_images(Editing(resamples=0), None, None, IMAGES, IMAGES, None, grid_of(2))),
        ("image=", lambda: composite(IMAGES[0], IMAGES, IMAGES)),
        ("edited=", lambda: composite(IMAGES, IMAGES[:1], IMAGES)),
        (r"sigma\[0\]=-1", lambda: edm_factors(-ONE)),
        ("sigma_data=0", lambda: edm_factors(ONE, 0.0)),
        ("sigma_min=-1", lambda: edm_factors(ONE, 0.5, -1.0)),
        ("p_std=0", lambda: sample_sigmas(KEYS, 0.0, 0.0)),
        ("sigmas=.*do not fall", lambda: edm_sample(None, PAIRS, np.array([1.0, 2]))),
        ("positive=", lambda: contrastive_energy_loss(PAIRS, THREE)),
        ("negative=", lambda: contrastive_energy_loss(THREE, TWO)),
        ("noise_scale=-1", lambda: langevin_sample(None, ONE, None, num_steps=1, step_size=0.1, noise_scale=-1.0)),
        ("step_size=0", lambda: langevin_sample(None, ONE, None, num_steps=1, step_size=0.0)),
        ("scale=inf", lambda: autoguide(None, None, np.inf)),
        ("scale=nan", lambda: guide(None, ONE, ONE, np.nan)),
        (r"alphas_cumprod\[1\]=2", lambda: condition(None, None, np.array([0.5, 2.0]))),
        ("rescale=2", lambda: rescale_guidance(PAIRS, PAIRS, 2.0)),
        ("rescale=-1", lambda: guide_interval(None, ONE, ONE, 2.0, rescale=-1.0)),
        (r"mean\[1\]=nan", lambda: latent_scale(np.array([1, np.nan]), TWO)),
        (r"logvar\[0\]=inf", lambda: latent_scale(TWO, np.array([np.inf, 1]))),
        ("b=", lambda: slerp(TWO, THREE, 0.5)),
        ("share=2", lambda: slerp(TWO, TWO, 2.0)),
        ("num_steps=1", lambda: arcs(PAIRS, PAIRS, 1)),
        (r"dimensions\[1\]=3", lambda: traverse(THREE, np.array([0, 3]), ONE)),
        ("levels=1", lambda: encode(CODES, 1)),
        (r"x\[0, 0\]=3", lambda: encode(CODES + 3, 3)),
        ("levels=1", lambda: num_outputs(1)),
        ("levels=1", lambda: to_logits(PAIRS, 1)),
        ("levels=1", lambda: dequantize(KEYS, IMAGES, 1)),
        (r"progress\[0\]=|progress=", lambda: num_masked(np.array([2.0]), 4)),
        ("num_codes=0", lambda: num_masked(0.5, 0)),
        ("codes=", lambda: mask_codes(KEY, PAIRS, 1, 4)),
        ("mask_token=0", lambda: mask_codes(KEY, CODES, 1, 0)),
        ("count=7", lambda: mask_codes(KEY, CODES, 7, 4)),
        ("num_steps=0", lambda: sample(None, None, KEYS, (2, 3), num_steps=0)),
        ("levels=1: no step", lambda: check_falling("sigmas", [1.0])),
        (r"levels\[1\]=nan", lambda: check_falling("sigmas", [1.0, np.nan])),
        ("variance_type='small'", lambda: ddpm_sample(None, PAIRS, None, grid_of(2), variance_type="small")),
        ("x=int32", lambda: euler_sample(None, CODES, None, grid_of(2))),
        ("log_variance=", lambda: kl_to_standard_normal(TWO, THREE)),
        ("log_variance=", lambda: reparameterize(KEY, TWO, THREE)),
        ("maps=", lambda: perceptual_distance({"a": PAIRS}, {"a": IMAGES})),
        ("targets=", lambda: perceptual_distance({"a": IMAGES}, {"a": IMAGES[:1]})),
        ("adversarial_gradient=", lambda: adaptive_weight(TWO, THREE)),
        ("num_codes=0", lambda: codebook_from(KEY, PAIRS, 0)),
        ("features=3: odd", lambda: timestep_embedding(TWO, 3)),
        (r"num_blocks=\(1,\): 1 levels; allowed: 2, as ", lambda: started(AutoencoderTiny((4, 4), (1,)), IMAGES)),
        (
            r"control: 1 maps; allowed: \d, one for each",
            lambda: started(
                ConditionalUNet((4,), attention_levels=(), add_attention=False, groups=2),
                *(IMAGES, TWO, None, None, ([IMAGES], IMAGES)),
            ),
        ),
        (
            "x=4x6: sides .* multiples of 4",
            lambda: started(UNet(8, (1, 1, 1)), np.ones((2, 4, 6, 1)), TWO),
        ),
        (
            "x=6x4: sides .* multiples of 4",
            lambda: started(UNet(8, (1, 1, 1)), np.ones((2, 6, 4, 1)), TWO),
        ),
        ("x=4x5: sides do not divide", lambda: started(DiT(8, 1, 2), np.ones((2, 4, 5, 1)), TWO)),
        ("x=5x4: sides do not divide", lambda: started(DiT(8, 1, 2), np.ones((2, 5, 4, 1)), TWO)),
        (r"axes=\(4, 6, 4\): their sum is not", lambda: flux(axes=(4, 6, 4))),
        (r"width / num_heads = 16.5", lambda: flux(axes=(4, 6, 6), width=33)),
        (r"positions=\(3, 3\): another shape", lambda: flux(np.zeros((3, 3)))),
        (r"positions=\(4, 2\): another shape", lambda: flux(np.zeros((4, 2)))),
        ("guidance: missing", lambda: flux(has_guidance=True)),
        ("guidance: the network embeds none", lambda: flux(guidance=ONE)),
        ("num_heads=3: not a divisor", lambda: started(JointAttention(3), np.ones((1, 2, 8)))),
        (
            "num_heads=3: no divisor",
            lambda: started(ScaleTransformer(5, (1,), 8, 1, 3), [IMAGES[:, :1, :1]]),
        ),
        ("z=", lambda: codebook_from(KEY, THREE, 2)),
        ("z.shape=.*no outputs", lambda: codebook_from(KEY, PAIRS[:0], 2)),
        ("vectors=", lambda: nearest_codes(PAIRS, np.ones((4, 3)))),
        ("q=", lambda: straight_through(TWO, THREE)),
        ("z=", lambda: updated(z=PAIRS[0])),
        ("codes=", lambda: updated(codes=THREE)),
        ("codes=", lambda: updated(codes=np.zeros(2, np.int32))),
        ("mask=", lambda: updated(mask=TWO)),
        ("vectors=", lambda: updated(BOOK.replace(vectors=np.ones((5, 3), np.float32)))),
        ("decay=1", lambda: updated(decay=1.0)),
        ("restart_below=1", lambda: updated(restart_below=1.0)),
        (r"codes\[0\]=5", lambda: updated(codes=np.full(3, 5))),
        ("num_codes=0", lambda: codebook_usage(CODES, TWO, 0)),
        ("codes=float", lambda: codebook_usage(PAIRS, THREE, 4)),
        ("mask=", lambda: codebook_usage(CODES, THREE, 4)),
        (r"codes\[0, 0\]=4", lambda: codebook_usage(CODES + 4, TWO, 4)),
        ("y=", lambda: reconstructed(y=IMAGES[0])),
        ("x=", lambda: reconstructed(x=IMAGES[:1])),
        ("commitment_losses=", lambda: reconstructed(commitment_losses=THREE)),
        ("mask=", lambda: reconstructed(mask=THREE)),
        ("commitment=-1", lambda: reconstructed(commitment=-1.0)),
    ],
)
def test_an_argument_that_does_not_fit_is_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()
