"""The programs of networks that detect and segment, in bfloat16 and, where it differs, in training.

Their numbers are compared in float32 and with parameters that follow a rule (tests/wiring.py), with their authors' code
in the slow and the weekly tier. So that the default tier notices an initializer, a type, a rate of dropout or a
gradient that is stopped no more, a digest of each program is kept, as in tests/models/test_programs.py. Where one fails
without a change that is meant, `python -m tests.detection.test_programs LABEL` prints what the digest is of, for a diff
of two commits. After one that is meant, and whose slow and weekly tests pass:
DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/detection/test_programs.py -m "slow or not slow" -n 0
"""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.detection.cascade_rcnn import CascadeRCNN
from dlcore.detection.center_net import CenterNet
from dlcore.detection.d_fine import DFINE
from dlcore.detection.deformable_detr import DeformableDETR
from dlcore.detection.detr import DETR
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.fcos import FCOS
from dlcore.detection.hybrid_encoder import HybridEncoder
from dlcore.detection.keypoint_rcnn import KeypointHead
from dlcore.detection.localization import Localizer
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.detection.owl_vit import OWLViT
from dlcore.detection.pose import SimpleBaseline
from dlcore.detection.rcnn import RCNN
from dlcore.detection.resnet_d import ResNetD
from dlcore.detection.retinanet import RetinaNet
from dlcore.detection.rt_detr import RTDETR
from dlcore.detection.simple_pyramid import BlockFeaturePyramid, SimpleFeaturePyramid
from dlcore.detection.single_stage import SingleStage
from dlcore.detection.ssd import SSD, ReducedVGG16
from dlcore.detection.vitpose import ViTPose
from dlcore.detection.yolo import YOLO
from dlcore.detection.yolo_anchor_free import AnchorFreeYOLO
from dlcore.detection.yolos import YOLOS
from dlcore.models.clip import CLIP
from dlcore.models.hgnet import HGNetV2
from dlcore.segmentation.deeplab import DeepLabV3
from dlcore.segmentation.eomt import EoMT
from dlcore.segmentation.fcn import FCN
from dlcore.segmentation.full_resolution import FullResolutionNet
from dlcore.segmentation.lraspp import LRASPP
from dlcore.segmentation.mask2former import Mask2Former
from dlcore.segmentation.maskformer import MaskFormer
from dlcore.segmentation.pspnet import PSPNet
from dlcore.segmentation.sam import SAM
from dlcore.segmentation.segformer import SegFormer
from dlcore.segmentation.unet import UNet
from dlcore.segmentation.unet_3d import UNet3D
from dlcore.segmentation.upernet import UPerNet
from tests.detection.detectors import TARGETS, Image, Small
from tests.models.tracing import arrays_of, assert_digest, program_of

HALF = {"dtype": jnp.bfloat16}
IMAGES, PIXELS = (2, 16, 24, 3), (2, 4, 6, 3)
LEVELS = {"stages": ("fine", "coarse"), "channels": 8, **HALF}
DENSE = LEVELS | {"extra_blocks": "none", "num_convs": 1}
QUERIES = {"stages": ("only",), "num_queries": 4, "features": 8, "num_heads": 2, "hidden_features": 6, **HALF}
QUERIES |= {"num_levels": 1, "num_points": 1, "decoder_layers": 2, "dropout_rate": 0.1}
HYBRID = QUERIES | {"encoder_features": 8, "encoder_heads": 2, "encoder_hidden_features": 6, "encoder_levels": (0,)}
HYBRID |= {"num_denoising": 2}
FINE = {"num_bins": 4, "num_probabilities": 2, "quality_features": 4, "encoder_blocks": 1, "num_points": (1,)}
MASKS = {"num_queries": 3, "num_heads": 2, "hidden_features": 4, "pixel_features": 32, "mask_features": 4, **HALF}
MASKS |= {"dropout_rate": 0.1}
TOKENS = {"patch_size": 4, "depth": 2, "width": 8, "num_heads": 2, "mlp_features": 12, **HALF}
HGNET = {"stem_widths": (4, 6), "widths": (8, 10), "mid_widths": (4, 4), "stages": (1, 2), "num_layers": (2, 1)}
HGNET |= {"kernel_sizes": (3, 5), "light": (False, True), "affine": True, **HALF}
BOXES = np.array([[[0.0, 0, 9, 9], [4, 4, 24, 16]]] * 2, np.float32)
MAPS = [np.ones((2, 4, 6, 8), np.float32), np.ones((2, 2, 3, 8), np.float32)]
POINTS = np.linspace(0, 16, 24, dtype=np.float32).reshape(2, 2, 3, 2)
FEATURES, TRAIN, TRAINED = {"method": "features", "train": True}, {"train": True}, {"train": True, "targets": TARGETS}


class Strided(nn.Module):
    """Four maps of strides 2 to 16: pixels of the image."""

    def features(self, x, train=False):
        return {f"stage{k}": x[:, :: 2**k, :: 2**k] for k in (1, 2, 3, 4)}


class Encoder(nn.Module):
    """An encoder whose map is every fourth pixel of an image."""

    image_size: int = 16
    patch_size: int = 4
    depth: int = 1

    def features(self, x):
        return {"block1": x[:, ::4, ::4]}


CASES = {
    "fcos": (FCOS(Small(), 2, num_groups=2, distance_activation="exp", **DENSE), [IMAGES], {}),
    "retinanet": (RetinaNet(Small(), 2, **DENSE | {"extra_blocks": "p6p7"}), [IMAGES], {}),
    "single_stage": (SingleStage(Small(), 2, num_groups=2, **DENSE), [IMAGES], {}),
    "ssd": (
        SSD(
            ReducedVGG16(2, **HALF),
            2,
            ("conv4_3", "conv7"),
            (6,),
            (2,),
            (0.3, 0.5, 0.7, 0.9),
            (2.0,),
            (4, 4, 2),
            (),
            **HALF,
        ),
        [(2, 48, 64, 3)],
        {},
    ),
    "center_net": (CenterNet(Small(), 2, **LEVELS), [IMAGES], {}),
    "yolo": (YOLO(Small(), 2, "fine", num_convs=1, channels=4, num_groups=2, **HALF), [IMAGES], {}),
    "anchor_free": (AnchorFreeYOLO(Small(), 2, num_blocks=1, num_convs=1, num_bins=4, **LEVELS), [IMAGES], TRAIN),
    "detr": (DETR(Small(), 3, "fine", 4, 8, 2, 6, 2, 2, **HALF), [IMAGES], TRAIN),
    "deformable_detr": (
        DeformableDETR(Image(), 3, **QUERIES | {"features": 32, "num_levels": 3}, encoder_layers=1),
        [PIXELS],
        TRAIN,
    ),
    "deformable_two_stage": (
        DeformableDETR(Image(), 3, **QUERIES | {"features": 32}, encoder_layers=1, box_refine=True, two_stage=True),
        [PIXELS, np.array([[4, 3], [2, 6]])],
        TRAIN,
    ),
    "rt_detr": (RTDETR(Image(), 3, **HYBRID), [PIXELS], TRAINED),
    "d_fine": (DFINE(Image(), 3, **HYBRID | FINE, learned_queries=True), [PIXELS], TRAINED),
    "hgnet_v2": (HGNetV2(**HGNET), [(2, 32, 48, 3)], FEATURES),
    "resnet_d": (ResNetD(stages=(2, 1), widths=(8, 16), stem_width=8, **HALF), [(2, 24, 32, 3)], FEATURES),
    "resnet_d_basic": (
        ResNetD(stages=(1, 1), widths=(8, 16), stem_width=8, block="basic", **HALF),
        [(2, 24, 32, 3)],
        FEATURES,
    ),
    "hybrid_encoder": (
        HybridEncoder((1,), num_heads=2, hidden_features=8, num_blocks=1, expansion=0.5, dropout_rate=0.1, **HALF),
        [MAPS],
        TRAIN,
    ),
    "faster_rcnn": (
        FasterRCNN(Small(), 2, MaskHead(2, 4, 1, **HALF), KeypointHead(2, 4, 1, **HALF), box_channels=6, **LEVELS),
        [(2, 32, 48, 3), BOXES],
        {},
    ),
    "cascade_rcnn": (
        CascadeRCNN(Small(), 2, box_channels=6, num_stages=2, non_local=True, **LEVELS),
        [(2, 32, 48, 3)],
        {},
    ),
    "r_cnn": (RCNN(Small(), 2, "coarse", 16, 0.5, 6, **HALF), [IMAGES, BOXES], {}),
    "localizer": (Localizer(Image(), 3, "only", channels=5, **HALF), [PIXELS], {}),
    "simple_baseline": (SimpleBaseline(Small(), 3, 2, 6, "coarse", **HALF), [IMAGES], TRAIN),
    "vit_pose": (ViTPose(3, (16, 24), **TOKENS), [IMAGES], {}),
    "vit_pose_classic": (ViTPose(3, (16, 24), simple=False, decoder_features=6, **TOKENS), [IMAGES], TRAIN),
    "simple_pyramid": (SimpleFeaturePyramid(8, extra_blocks="p6p7", **HALF), [(2, 4, 6, 8)], {}),
    "block_pyramid": (BlockFeaturePyramid(8, (2.0, 0.5), **HALF), [[np.ones((2, 4, 6, 8), np.float32)] * 2], {}),
    "owl_vit": (
        OWLViT(
            CLIP(
                9,
                8,
                window=4,
                image_size=8,
                patch_size=4,
                embedding_size=6,
                vision_depth=1,
                vision_width=8,
                vision_heads=2,
                text_depth=1,
                text_width=6,
                text_heads=2,
                **HALF,
            ),
            True,
            **HALF,
        ),
        [(2, 8, 8, 3), np.array([[3, 8, 0, 0], [2, 1, 8, 0]])],
        {},
    ),
    "yolos": (YOLOS(2, (8, 12), num_queries=3, dropout=0.1, **TOKENS), [IMAGES], TRAIN),
    "u_net": (UNet(2, (4, 6), **HALF), [(2, 8, 12, 3)], TRAIN),
    "u_net_other": (UNet(2, (4, 16), 2, 1, "strided", "nearest", False, norm="group", **HALF), [(2, 8, 12, 3)], TRAIN),
    "u_net_3d": (UNet3D(2, (4, 6), (1.0, 1.0, 3.0), **HALF), [(2, 4, 6, 8, 1)], TRAIN),
    "full_resolution": (FullResolutionNet(2, 2, 4, **HALF), [PIXELS], TRAIN),
    "fcn": (FCN(Small(), 2, "coarse", ("fine",), "fine", **HALF), [(2, 32, 48, 3)], TRAIN),
    "deeplab": (DeepLabV3(Small(), 2, "fine", "coarse", channels=4, rates=(1, 2), **HALF), [IMAGES], TRAIN),
    "lraspp": (LRASPP(Small(), 2, "fine", "coarse", channels=4, **HALF), [IMAGES], TRAIN),
    "pspnet": (PSPNet(Small(), 2, "fine", "coarse", channels=4, bins=(1, 2), **HALF), [IMAGES], TRAIN),
    "segformer": (SegFormer(Small(), 2, ("fine", "coarse"), features=4, **HALF), [IMAGES], TRAIN),
    "upernet": (
        UPerNet(Small(), 2, ("fine", "coarse"), features=4, bins=(1, 2), aux_stage="fine", aux_features=4, **HALF),
        [IMAGES],
        TRAIN,
    ),
    "maskformer": (MaskFormer(Small(), 2, ("fine", "coarse"), features=32, decoder_layers=2, **MASKS), [IMAGES], TRAIN),
    "mask2former": (
        Mask2Former(Strided(), 2, features=8, decoder_layers=2, encoder_layers=1, encoder_hidden_features=4, **MASKS),
        [(2, 16, 32, 3)],
        TRAIN,
    ),
    "eomt": (EoMT(3, 8, query_blocks=1, num_queries=2, num_registers=1, num_upscale=1, **TOKENS), [(2, 8, 8, 3)], {}),
    "sam": (
        SAM(Encoder(), 16, 2, 2, 2, 8, 8, mask_channels=4, **HALF),
        [(2, 16, 16, 3), POINTS, np.array([[[1, 0, -2], [2, 3, 1]], [[0, -1, 1], [1, -2, -2]]]), None, (2, 16, 16, 1)],
        {},
    ),
}


def program(label):
    network, inputs, options = CASES[label]
    return program_of(network, *arrays_of(inputs), **options)[0]


SLOW = ["block_pyramid", "deformable_detr", "deformable_two_stage", "faster_rcnn", "mask2former", "maskformer"]
SLOW += ["resnet_d_basic", "u_net_3d", "u_net_other", "vit_pose_classic", "yolos"]


@pytest.mark.slow(only=SLOW)
@pytest.mark.parametrize("label", CASES)
def test_the_program_has_the_digest_of_the_one_whose_outputs_were_compared(label):
    assert_digest("dense_programs.json", label, program(label))


if __name__ == "__main__":
    print(*map(program, sys.argv[1:]), sep="\n")
