"""`dlcore experiments WORD`: a name, as the field says it, leads to its page first, or to what is nearest."""

import re

import pytest

from dlcore.experiment import finder
from dlcore.setting import FlagError


def find(word):
    return finder.find(word, "experiments")


def found_text(words, *rest):
    return finder.found_text(words, "experiments", *rest)


PAGES = {
    "adversarial.attack": ["FGSM", "PGD"],
    "adversarial.training": ["TRADES", "adversarial training"],
    "classic_ml.classifiers": ["naive Bayes"],
    "classic_ml.choose_k": ["k-nearest neighbors"],
    "classic_ml.clustering": ["hierarchical clustering", "k-means"],
    "classic_ml.density": ["Gaussian mixture"],
    "classic_ml.embedding": ["t-SNE", "PCA"],
    "classical_vision.calibration": ["camera calibration"],
    "classical_vision.features": ["HOG", "bag of visual words", "SVM"],
    "classical_vision.flow": ["Lucas-Kanade", "optical flow"],
    "classical_vision.match": ["SIFT", "RANSAC"],
    "classical_vision.panorama": ["panorama"],
    "classification.distillation": ["knowledge distillation"],
    "classification.hard_attention": ["REINFORCE", "hard attention"],
    "classification.supervised": ["label smoothing", "ReduceLROnPlateau", "mixup", "CutMix", "LeNet-5"],
    "detection.cascade_rcnn": ["Cascade R-CNN"],
    "detection.center_net": ["CenterNet"],
    "detection.d_fine": ["D-FINE"],
    "detection.deformable_detr": ["Deformable DETR"],
    "detection.detr": ["DETR"],
    "detection.faster_rcnn": ["Faster R-CNN"],
    "detection.fcos": ["GIoU"],
    "detection.mask_rcnn": ["Mask R-CNN"],
    "detection.pose": ["SimpleBaseline", "ViTPose"],
    "detection.retinanet": ["focal loss", "RetinaNet"],
    "detection.rt_detr": ["RT-DETR"],
    "detection.selective_search": ["selective search", "amodal"],
    "detection.ssd": ["SSD"],
    "detection.vitdet": ["ViTDet"],
    "detection.yolo": ["YOLO"],
    "detection.yolo_anchor_free": ["YOLOX", "YOLOv8"],
    "generative.conditional_gan": ["BigGAN"],
    "generative.control_net": ["ControlNet"],
    "generative.cycle_gan": ["CycleGAN"],
    "generative.ddpm": ["DDPM", "DDIM"],
    "generative.dit": ["DiT", "classifier-free guidance"],
    "generative.fvbn": ["MADE", "NADE"],
    "generative.personalization": ["DreamBooth", "textual inversion"],
    "generative.pixel_cnn": ["PixelCNN"],
    "generative.style_gan": ["StyleGAN"],
    "generative.super_resolution": ["SRGAN"],
    "generative.vae": ["beta-VAE", "VAE"],
    "generative.vq_vae": ["VQ-VAE"],
    "generative.wave_net": ["WaveNet"],
    "interpretability.attribution": ["Grad-CAM"],
    "interpretability.deep_dream": ["DeepDream"],
    "interpretability.dissection": ["network dissection"],
    "interpretability.style_transfer": ["style transfer", "L-BFGS"],
    "rl.gail": ["GAIL"],
    "rl.inverse": ["inverse reinforcement learning"],
    "rl.ppo": ["proximal policy optimization"],
    "rl.td3": ["DDPG"],
    "segmentation.deeplab": ["DeepLab"],
    "segmentation.mask2former": ["Mask2Former"],
    "segmentation.panoptic": ["panoptic segmentation"],
    "segmentation.promptable": ["SAM"],
    "segmentation.saliency_grabcut": ["GrabCut"],
    "segmentation.unet": ["U-Net"],
    "self_supervised.clip": ["SigLIP", "CLIP"],
    "self_supervised.dino": ["DINO"],
    "self_supervised.mae": ["MAE"],
    "self_supervised.moco": ["MoCo"],
    "self_supervised.rotation": ["RotNet"],
    "self_supervised.simclr": ["SimCLR", "LARS"],
    "semi_supervised.fixmatch": ["FlexMatch", "FixMatch"],
    "semi_supervised.gan_classifier": ["GoodBadGAN"],
    "semi_supervised.mean_teacher": ["mean teacher"],
    "semi_supervised.vat": ["virtual adversarial training"],
    "sequence.language_model": ["GPT"],
    "sequence.masked_language_model": ["BERT"],
    "sequence.tracking": ["motion tracking", "Kalman filter"],
    "studies.activations": ["SELU"],
    "studies.architecture_search": ["neural architecture search"],
    "studies.decoupled_contrastive": ["DCL"],
    "studies.long_tail": ["class imbalance"],
    "studies.regularizers": ["max-norm", "Cutout", "early stopping"],
    "studies.triplet_mining": ["triplet loss"],
    "transfer.continual": ["EWC"],
    "transfer.domain_adaptation": ["DANN", "MMD", "CORAL"],
    "transfer.few_shot": ["prototypical networks"],
    "video.classification": ["C3D", "I3D", "SlowFast"],
    "video.hand_crafted": ["dense trajectories"],
    "video.optical_flow": ["RAFT"],
    "vision3d.implicit_surface": ["DeepSDF", "occupancy network"],
    "vision3d.pointnet": ["PointNet"],
    "vision3d.nerf": ["NeRF"],
    "vision3d.structure_from_motion": ["SfM", "bundle adjustment"],
    "vision3d.voxel_classifier": ["VoxNet"],
    "vision_language.caption": ["image captioning", "beam search"],
    "vision_language.vqa": ["VQA"],
}


FIRST = {
    "attribution": "interpretability.attribution",
    "gradcam": "interpretability.attribution",
    "Grad-CAM": "interpretability.attribution",
    "clip": "self_supervised.clip",
    "vae": "generative.vae",
    "depth": "vision3d.depth",
    "ocr": "vision_language.text_reading",
    "SDF": "vision3d.implicit_surface",
    "slam": "vision3d.structure_from_motion",
    "COLMAP": "vision3d.structure_from_motion",
    "adam": "adam",
    "focal loss": "losses.distribution_focal_loss",
    "uncertainty": "metrics.Calibration",
    "tta": "--tta",
    "hyperband": "dlcore/search/halving.py",
    "Llama": "dlcore/models/llama.py",
    "dinov3": "dinov3_convnext_base",
    "depth anything": "vision3d.depth_anything",
    "owl-vit": "owlvit_base_patch32",
    "open vocabulary": "owlvit_base_patch32",
    "LlamaForCausalLM": "LlamaForCausalLM",
    "patience": "--patience",
    "wave net": "generative.wave_net",
}
"""Word -> what is found first."""


def test_the_meant_thing_is_found_first():
    assert {word: find(word)[0].name for word in FIRST} == FIRST


def test_a_hundred_names_of_techniques_lead_to_their_pages():
    assert sum(map(len, PAGES.values())) >= 100
    missing = [
        f"{word}: {page}"
        for page, words in PAGES.items()
        for word in words
        if page not in [item.name for item in find(word)]
    ]
    assert not missing, "write the name in the page's docstring: " + ", ".join(missing)


def test_case_hyphens_and_line_breaks_do_not_matter():
    found = find("dense trajectories")
    assert find("DENSE-trajectories") == find("dense\ntrajectories") == found


def test_words_are_whole_or_begin_so():
    """No vit in "invite", and no shap in "shape": shorter words go on by a number alone, as dino in dinov2."""
    pages = [item for item in find("vit") if item.kind == "page"]
    assert all(re.search(r"(\b|_)vit(s|\d*)(\b|_)", f"{i.name} {i.title} {i.text}".lower()) for i in pages)
    assert not find("shap")
    assert "dinov2_base" in [item.name for item in find("dino")]
    assert "self_supervised.colorization" in [item.name for item in find("Larss")]


def test_benches_and_studies_come_last():
    topics = [item.name.split(".")[0] for item in find("augmentation")]
    last = [topic in ("bench", "studies") for topic in topics]
    assert last == sorted(last)
    assert any(last)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("gaussian splatting", "vision3d.nerf"),
        ("grpo", "rl.ppo"),
        ("rwkv", "sequence.language_model"),
        ("shap", "interpretability.attribution"),
        ("supervized", "classification.supervised"),
        ("patchcore", "classic_ml.density"),
    ],
)
def test_absent_words_lead_to_the_nearest(word, near):
    assert not find(word)
    assert near in [item.name for item in finder.nearest(word, "experiments")]
    with pytest.raises(FlagError, match=rf"^{word}: not in dlcore; nearest: .*{near}"):
        found_text(word)


def test_a_slip_in_a_topic_and_a_word_of_nothing():
    with pytest.raises(FlagError, match=r"^detecton: not in dlcore; nearest: detection, "):
        found_text("detecton")
    with pytest.raises(FlagError, match=r"^xyzzy: not in dlcore; nearest: the topics of `dlcore experiments`$"):
        found_text("xyzzy")


def test_networks_are_one_line_a_kind_and_the_rest_is_counted():
    lines = found_text("dinov3", 100, 2).splitlines()
    assert lines[0].startswith("network (image): dinov3_convnext_base, ")
    assert lines[1].endswith("and 2 more")
    assert lines[-1].startswith("and ")
    assert lines[-1].endswith(" more: dlcore experiments dinov3 --all")
    assert max(map(len, found_text("clip", 60, None).splitlines())) <= 60
