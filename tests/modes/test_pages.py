"""Sanity and gradcheck of the experiments: they pass as the file stands, and a gradient times three fails them.

Two of them in every run, small; all of them at their defaults under -m weekly. The recipes need ImageNet; they are
classification.supervised with other settings.
"""

import jax
import pytest

from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import run
from dlcore.modes.sanity import CHECKS, Bench
from experiments import experiment_names, find_experiment
from tests.overriding import with_run

GRADIENT = CHECKS[3]
WITH_LOSS = {
    "adversarial.training",
    "classification.distillation",
    "classification.supervised",
    "detection.cascade_rcnn",
    "detection.center_net",
    "detection.d_fine",
    "detection.deformable_detr",
    "detection.detr",
    "detection.fast_rcnn",
    "detection.faster_rcnn",
    "detection.fcos",
    "detection.keypoint_rcnn",
    "detection.localization",
    "detection.mask_rcnn",
    "detection.rcnn",
    "detection.pose",
    "detection.retinanet",
    "detection.rt_detr",
    "detection.single_stage",
    "detection.ssd",
    "detection.vitdet",
    "detection.yolo",
    "detection.yolo_anchor_free",
    "generative.autoencoder",
    "generative.autoencoder_kl",
    "generative.consistency",
    "generative.control_net",
    "generative.ddpm",
    "generative.dit",
    "generative.edm",
    "generative.flow_matching",
    "generative.fvbn",
    "generative.latent_diffusion",
    "generative.mask_git",
    "generative.normalizing_flow",
    "generative.personalization",
    "generative.pixel_cnn",
    "generative.pixel_rnn",
    "generative.score_sde",
    "generative.super_resolution",
    "generative.text_to_image",
    "generative.vae",
    "generative.vq_vae_prior",
    "generative.wave_net",
    "interpretability.fast_style",
    "segmentation.deeplab",
    "segmentation.fcn",
    "segmentation.full_resolution",
    "segmentation.lraspp",
    "segmentation.mask2former",
    "segmentation.panoptic",
    "segmentation.promptable",
    "segmentation.pspnet",
    "segmentation.segformer",
    "segmentation.unet",
    "segmentation.volumes",
    "rl.behavior_cloning",
    "self_supervised.audio_visual",
    "self_supervised.barlow_twins",
    "self_supervised.byol",
    "self_supervised.clip",
    "self_supervised.colorization",
    "self_supervised.cross_channel",
    "self_supervised.beit",
    "self_supervised.data2vec",
    "self_supervised.deep_cluster",
    "self_supervised.dino",
    "self_supervised.dinov2_objective",
    "self_supervised.exemplar",
    "self_supervised.frame_order",
    "self_supervised.ibot",
    "self_supervised.ijepa",
    "self_supervised.inpainting",
    "self_supervised.jigsaw",
    "self_supervised.mae",
    "self_supervised.moco",
    "self_supervised.moco_v3",
    "self_supervised.nnclr",
    "self_supervised.outpainting",
    "self_supervised.relative_patch",
    "self_supervised.rotation",
    "self_supervised.simclr",
    "self_supervised.simmim",
    "self_supervised.simsiam",
    "self_supervised.supcon",
    "self_supervised.super_resolution_pretext",
    "self_supervised.swav",
    "self_supervised.unrotation",
    "self_supervised.vicreg",
    "self_supervised.video_mae",
    "self_supervised.vjepa",
    "semi_supervised.fixmatch",
    "semi_supervised.ict",
    "semi_supervised.mean_teacher",
    "semi_supervised.mixmatch",
    "semi_supervised.noisy_labels",
    "semi_supervised.pi_model",
    "semi_supervised.pseudo_label",
    "semi_supervised.temporal_ensembling",
    "semi_supervised.vat",
    "sequence.char_rnn",
    "sequence.language_model",
    "sequence.masked_language_model",
    "sequence.neural_ode",
    "sequence.patterns",
    "sequence.seq2seq",
    "sequence.text_classification",
    "sequence.tracking",
    "sequence.transformer_xl",
    "transfer.few_shot",
    "transfer.fine_tuning",
    "vision_language.caption",
    "vision_language.retrieval",
    "vision_language.text_reading",
    "vision_language.translation",
    "vision_language.video_caption",
    "vision_language.vqa",
    "video.classification",
    "video.optical_flow",
    "vision3d.depth",
    "vision3d.implicit_surface",
    "vision3d.mesh_rcnn",
    "vision3d.pixel2mesh",
    "vision3d.point_generator",
    "vision3d.pointnet",
    "vision3d.nerf",
    "vision3d.voxel_classifier",
    "vision3d.voxel_generator",
}
WITHOUT_LOSS = {
    "classification.hard_attention",
    "generative.conditional_gan",
    "generative.cycle_gan",
    "generative.energy_based",
    "generative.gan",
    "generative.pix2pix",
    "generative.ring_gan",
    "generative.style_gan",
    "generative.style_gan2",
    "generative.var",
    "generative.vq_gan",
    "generative.vq_vae",
    "generative.vq_vae_2",
    "interpretability.class_image",
    "interpretability.feature_inversion",
    "interpretability.style_transfer",
    "interpretability.texture_synthesis",
    "interpretability.unit_images",
    "rl.a2c",
    "rl.dqn",
    "rl.gail",
    "rl.model_based",
    "rl.ppo",
    "rl.q_learning",
    "rl.recurrent_ppo",
    "rl.sac",
    "rl.td3",
    "self_supervised.synthetic_properties",
    "semi_supervised.gan_classifier",
    "transfer.domain_adaptation",
}
CHEAP = {
    "classification.supervised": ["--smoke", "--model=mlp"],
    "sequence.char_rnn": ["--smoke"],
}


@jax.custom_vjp
def tripled(x):
    return x


tripled.defvjp(lambda x: (x, None), lambda _, g: (jax.tree.map(lambda g: 3 * g, g),))


def times_three(experiment):
    """The experiment with a right loss whose gradient is three times too large."""

    def build(setup):
        learner = Run.build(setup)
        return learner._replace(loss=lambda params, *rest: learner.loss(tripled(params), *rest))

    return with_run(experiment, build=build)


def gradient(experiment, *words):
    resolved = ResolvedRun(experiment, resolve(experiment, list(words)))
    return GRADIENT(Bench(resolved, experiment.run(resolved.flags.replace(**resolved.plain)).load()))


@pytest.mark.weekly
@pytest.mark.parametrize("name", CHEAP)
def test_a_gradient_times_three_fails_and_the_right_one_passes(name):
    experiment = find_experiment(name)
    assert gradient(experiment, *CHEAP[name]).passed is True
    row = gradient(times_three(experiment), *CHEAP[name])
    assert row.passed is False
    assert row.measured.startswith("6.7e-01 at"), "|3 - 1| / 3"


@pytest.mark.weekly
@pytest.mark.parametrize("name", sorted(WITH_LOSS | WITHOUT_LOSS))
def test_an_experiment_passes_at_its_defaults(name, capsys):
    experiment = find_experiment(name)
    for mode in ("sanity", "gradcheck"):
        assert run(experiment, [f"--mode={mode}"]) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    assert ("the learner has no loss" in out) is (name in WITHOUT_LOSS)


@pytest.mark.weekly
@pytest.mark.parametrize("name", sorted(WITH_LOSS))
def test_a_gradient_times_three_fails_at_the_defaults(name, capsys):
    assert run(times_three(find_experiment(name)), ["--mode=gradcheck"]) == 1, capsys.readouterr().out


def test_every_experiment_is_in_one_of_the_lists():
    files = {entry.name: entry.path.read_text(encoding="utf-8") for entry in experiment_names()}
    names = {
        name
        for name, text in files.items()
        if "\nexperiment = Experiment(" in text and not name.startswith(("bench.", "recipes."))
    }
    assert names == WITH_LOSS | WITHOUT_LOSS
