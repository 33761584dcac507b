"""DeiT-Ti with a distillation token on ImageNet for 300 epochs, taught by a convolutional network.

python -m experiments.recipes.deit_tiny_distilled --data_dir=D         (recipe, not run: 74.5 % is published)
python -m experiments.recipes.deit_tiny_distilled --smoke              (digits, in seconds: does everything work?)

Touvron et al., "Training data-efficient image transformers & distillation through attention" (2020), arXiv:2012.12877:
AdamW at 5e-4 for 512 images with five epochs of warm-up and a cosine, weight decay 0.05, mixup 0.8 or CutMix 1.0, label
smoothing 0.1, RandAugment; one head learns the labels, the other the teacher's decisions, with equal weight. The
paper's teacher is a RegNetY-16GF: `--network=FOLDER` takes a run of experiments.classification.supervised.
"""

from dlcore.main import main
from experiments.classification import distillation
from experiments.recipes import SMALL_VIT, imagenet

experiment = imagenet(
    distillation.experiment,
    __file__,
    __doc__,
    "deit_tiny_distilled_patch16_224",
    defaults={
        "batch_size": 1024,
        "epochs": 300.0,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "warmup": 5 / 300,
        "weight_decay": 0.05,
        "augment": "rand_augment",
        "kind": "hard",
        "teacher_weight": 0.5,
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "label_smoothing": 0.1,
        "network_steps": 400,
    },
    smoke=SMALL_VIT,
)

if __name__ == "__main__":
    main(experiment)
