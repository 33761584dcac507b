"""Segment colored shapes, or your own images and masks, with a fully convolutional network.

python -m experiments.segmentation.fcn        (mean IoU 0.943; 33 min on one core; after --epochs=8 0.899)
python -m experiments.segmentation.fcn --dataset=folder --data_dir=D --batch_size=8 --epochs=60 --model.width=16 \\
    --model.stem=imagenet --class_weights=median --eval_every=460        (CamVid at 180 x 240: not run)

The shapes are small, so the ResNet keeps a stride of 2 by dilation; a map of full size is scored too and joined by a
transposed convolution. The paper's FCN-8s is `--model.stem=imagenet --model.dilate= --fcn.skips=layer3,layer2`. Such
coarse scores find these shapes, but not their edges: strides 16 to 2 (`--model=resnet8_cifar --model.width=16
--model.stem_stride=2 --fcn.stage=stage4 --fcn.skips=stage3,stage2,stage1`) reached a mean IoU of 0.714. Torchvision's
form enlarges one map: `--model=resnet50 --model.width=64 --model.stages=3,4,6,3 --model.stem=imagenet
--model.dilate=false,true,true --fcn.skips= --fcn.upsampling=bilinear --fcn.aux_stage=layer3`. D is as for
experiments.segmentation.unet.
"""

from functools import partial

from dlcore.data.mask_images import PLAIN, MaskImages
from dlcore.evaluators.accuracy import log_classes
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AveragedAdamW
from dlcore.report import mask_results
from dlcore.report.mask_results import ClassIoU, SegmentImages
from dlcore.segmentation import semantic
from dlcore.segmentation.fcn import FCN
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import MASKS

experiment = Experiment(
    __file__,
    __doc__,
    technique=semantic.learner,
    data=MaskImages("scenes", num_scenes=4000, class_weights="none", flip="auto"),
    network=OnBackbone(
        partial(FCN, stage="layer4", skips=("layer1",), upsampling="transposed"),
        backbone=Zoo("resnet18", {"stages": (1, 1, 1, 1), "stem": "cifar", "width": 8, "dilate": (False, True, True)}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(10, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[ClassIoU()],
    report=[mask_results.panels],
    use=SegmentImages(),
    start=ModuleWeights(),
    sanity=Sanity(expected_loss=log_classes, tolerance=0.25, plain=PLAIN),
    smoke={**MASKS, "model.width": 4},
)

if __name__ == "__main__":
    main(experiment)
