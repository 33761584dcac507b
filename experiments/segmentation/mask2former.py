"""Mask2Former: semantic, instance and panoptic maps of drawn scenes from one set of queries, without boxes or merging.

python -m experiments.segmentation.mask2former                          (PQ 74.4 %, mAP of masks 49.3 %; 33 min)
python -m experiments.segmentation.mask2former --network=maskformer
python -m experiments.segmentation.mask2former --network=eomt
python -m experiments.segmentation.mask2former --run=RUN --mode=predict --input=IMAGES --output=FOLDER  (COCO's form)

The scenes and the measures are those of experiments.segmentation.panoptic, whose Mask R-CNN and U-Net reach a PQ
(panoptic quality) of 89.0 % in 28 processor minutes. In 3,000 steps, which take 33 minutes of a shared core,
Mask2Former reaches 74.4 %: 97.2 % of the stuff and 60.8 % of the things. The class's mean mask in the detected boxes
has an mAP of 28.1 %. Queries learn slowly: after 600 steps at twice the learning rate the PQ is still 0. The numbers
are of one seed. The networks are small: masks of stride 4, three layers of queries and 128 points for each mask. The
classes of the networks have the published values as defaults.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.evaluators import segment_results
from dlcore.evaluators.segment_quality import SegmentQuality
from dlcore.evaluators.segment_results import FindSegments
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AveragedAdamW
from dlcore.segmentation import mask_queries
from dlcore.segmentation.eomt import EoMT
from dlcore.segmentation.mask2former import Mask2Former
from dlcore.segmentation.mask_queries import PointSampling
from dlcore.segmentation.maskformer import MaskFormer
from dlcore.weights.segment_networks import QueryNetworks
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import MASK_QUERIES

PIXELS = {"stages": ("stage2", "stage3", "stage4", "stage5"), "stage_norms": False, "pixel_features": 32}
DECODER = {"num_queries": 10, "features": 64, "num_heads": 4, "hidden_features": 128, "decoder_layers": 3}
VIT = {"patch_size": 8, "depth": 4, "query_blocks": 3, "width": 96, "num_heads": 4, "mlp_features": 192}

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        mask_queries.learner,
        sampling=PointSampling(num_points=128),
        score_thresh=0.5,
        min_visible=0.5,
        detections_per_img=20,
    ),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, resizing=None, mixing=None, masks=True, stuff=True),
    network=QueryNetworks(
        partial(Mask2Former, **PIXELS, **DECODER, mask_features=32, encoder_layers=1, encoder_hidden_features=64),
        partial(MaskFormer, **PIXELS, **DECODER, mask_features=32),
        partial(EoMT, **VIT, num_queries=10, num_registers=0, num_upscale=1),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4, clip_norm=1.0, ema=0.99
    ),
    length=Steps(3000, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[SegmentQuality()],
    report=[segment_results.panels],
    use=FindSegments(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    defaults={"epochs": 8.0},  # not used beside steps, but in the identity of runs
    smoke=MASK_QUERIES,
)

if __name__ == "__main__":
    main(experiment)
