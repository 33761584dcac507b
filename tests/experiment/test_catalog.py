"""`dlcore experiments WORD`: the name of a technique, as its field calls it, leads to its page."""

import json

import pytest

from dlcore.experiment import catalog
from dlcore.experiment.catalog import find_experiment, listing, matching_entries
from dlcore.experiment.setting import FlagError

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


def test_a_hundred_names_of_techniques_lead_to_their_pages():
    assert sum(map(len, PAGES.values())) >= 100
    missing = [
        f"{word}: {page}"
        for page, words in PAGES.items()
        for word in words
        if page not in [entry.name for entry in matching_entries(word)]
    ]
    assert not missing, "write the name in the page's docstring: " + ", ".join(missing)


def test_case_hyphens_and_line_breaks_do_not_matter():
    found = matching_entries("dense trajectories")
    assert matching_entries("DENSE-trajectories") == matching_entries("dense\ntrajectories") == found


def test_whole_words_come_before_words_that_begin_alike():
    """LARS is in some docstrings, Larsson in others."""
    names = [entry.name for entry in matching_entries("LARS")]
    assert "self_supervised.simclr" in names
    assert "self_supervised.colorization" not in names
    assert "self_supervised.colorization" in [entry.name for entry in matching_entries("Larss")]


def test_no_line_is_longer_than_the_terminal():
    for columns in (60, 80):
        lines = listing("detection", columns).splitlines()
        assert max(map(len, lines)) <= columns
    assert lines[0] == "bench"
    with pytest.raises(
        FlagError, match=r"word='supervized': no experiment has it \(did you mean supervised\?\); allowed"
    ):
        listing("supervized")
    with pytest.raises(FlagError, match="word='abacus': no experiment has it; allowed: words of `dlcore experiments`"):
        listing("abacus")


def test_a_name_with_a_slip_leads_to_those_that_are_close():
    """moko and moco share 2 * 3 of 8 letters, 0.75: too few for a stem, enough with the topic before them."""
    with pytest.raises(FlagError, match=r"self_supervised\.moko: unknown \(did you mean self_supervised\.moco"):
        find_experiment("self_supervised.moko")
    # vqvae and the stem vq_vae share 10 of 11 letters.
    with pytest.raises(FlagError, match=r"vqvae: unknown \(did you mean generative\.vq_vae"):
        find_experiment("vqvae")
    with pytest.raises(FlagError, match=r"^zzzz: unknown; allowed: the names of `dlcore experiments`$"):
        find_experiment("zzzz")


def test_the_shortest_command_of_a_page_gives_its_measured_number(tmp_path, monkeypatch):
    rows = [
        {"command": "python -m experiments.a.page --x=1 --y=2", "mean": 1.0, "metric": "test top5", "dataset": "d"},
        {"command": "python -m experiments.a.page --x=1", "mean": 0.98765, "metric": "test mean_iou", "dataset": "d"},
        {"command": "python -m experiments.a.page --x=2", "mean": None, "metric": "m", "dataset": "d"},
        {"command": "python other.py", "mean": 1.0, "metric": "m", "dataset": "d"},
    ]
    held = [
        {"command": f"python -m experiments.s.s{k}", "mean": 2.0, "metric": "gap", "dataset": "e", "holds": holds}
        for k, holds in enumerate((True, False, None))
    ]
    monkeypatch.setattr(catalog, "_folder", lambda: tmp_path)
    assert catalog.read_measured_numbers() == {}
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + held))
    assert catalog.read_measured_numbers() == {
        "a.page": "mean iou 0.9877 on d", "s.s0": "the claim held: gap 2 on e",
        "s.s1": "the claim did not hold: gap 2 on e", "s.s2": "gap 2 on e",
    }  # fmt: skip


def test_a_page_is_a_file_that_assigns_its_experiment(tmp_path, monkeypatch):
    (tmp_path / "topic").mkdir()
    (tmp_path / "topic" / "page.py").write_text('"""One line.\n\nMore."""\nexperiment = 1\n')
    (tmp_path / "topic" / "part.py").write_text("if True:\n    experiment = 1\n")
    (tmp_path / "top.py").write_text("experiment = 1\n")
    monkeypatch.setattr(catalog, "_folder", lambda: tmp_path)
    (entry,) = catalog.experiment_names()
    assert (entry.name, entry.path.name, catalog.first_line(entry)) == ("topic.page", "page.py", "One line.")
    monkeypatch.undo()
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    with pytest.raises(FlagError, match=r"^experiments: not importable, as an installed package has none; allowed"):
        catalog.experiment_names()
