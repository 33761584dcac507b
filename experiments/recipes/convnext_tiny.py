"""ConvNeXt-T on ImageNet for 300 epochs.

python -m experiments.recipes.convnext_tiny --data_dir=D         (recipe, not run: 82.1 % is published)
python -m experiments.recipes.convnext_tiny --smoke              (digits, in seconds: does everything work?)

Liu et al., "A ConvNet for the 2020s" (2022), arXiv:2201.03545: AdamW at 4e-3 for 4,096 images with 20 epochs of warm-up
and a cosine, weight decay 0.05, mixup 0.8 or CutMix 1.0, label smoothing 0.1, RandAugment, stochastic depth 0.1 and an
average of the parameters. Random erasing is left out. Scale the learning rate with the batch size.
"""

from dlcore.main import main
from experiments.classification import supervised
from experiments.recipes import imagenet

experiment = imagenet(
    supervised.experiment,
    __file__,
    __doc__,
    "convnext_tiny",
    defaults={
        "batch_size": 4096,
        "epochs": 300.0,
        "optimizer": "adamw",
        "learning_rate": 4e-3,
        "warmup": 20 / 300,
        "weight_decay": 0.05,
        "augment": "rand_augment",
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "label_smoothing": 0.1,
        "ema": 0.9999,
    },
    smoke={"model.stages": (1, 1, 1, 1), "model.width": 8},
)

if __name__ == "__main__":
    main(experiment)
