"""Segment colored shapes, or your images and masks, with UPerNet on a ConvNeXt or another backbone of stages.

python -m experiments.segmentation.upernet
python -m experiments.segmentation.upernet --model=swin_t --model.stages=1,1,1,1 --model.width=16 \\
    --model.num_heads=1,2,4,8 --model.window_size=6

The small ConvNeXt has a sixth of the channels of ConvNeXt-T and one block a stage; its finest map has a stride of 4.
`--model=hf:ID`, such as openmmlab/upernet-convnext-tiny, takes backbone, head and weights of a published UPerNet, whose
layers of other classes start anew; with --dataset=folder --data_dir=D, as for experiments.segmentation.unet, it is
fine-tuned on your masks.
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
from dlcore.segmentation.upernet import UPerNet
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import MASKS

experiment = Experiment(
    __file__,
    __doc__,
    technique=semantic.learner,
    data=MaskImages("scenes", num_scenes=4000, class_weights="none", flip="auto"),
    network=OnBackbone(
        partial(UPerNet, features=64, aux_stage="stage3", aux_features=32),
        backbone=Zoo("convnext_tiny", {"stages": (1, 1, 1, 1), "widths": (16, 32, 64, 96), "drop_path": 0.0}),
        adaptation=DenseAdaptation(),
        prefix="upernet",
    ),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(16, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[ClassIoU()],
    report=[mask_results.panels],
    use=SegmentImages(),
    start=ModuleWeights(),
    sanity=Sanity(expected_loss=log_classes, tolerance=0.25, plain=PLAIN),
    smoke={**MASKS, "image_size": (64, 64), "upernet.features": 8, "upernet.aux_features": 8},
)

if __name__ == "__main__":
    main(experiment)
