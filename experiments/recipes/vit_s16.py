"""ViT-S/16 on ImageNet for 90 epochs, without distillation.

python -m experiments.recipes.vit_s16 --data_dir=D         (recipe, not run: 76.5 % is published)
python -m experiments.recipes.vit_s16 --smoke              (digits, in seconds: does everything work?)

Beyer, Zhai & Kolesnikov, "Better plain ViT baselines for ImageNet-1k" (2022), arXiv:2205.01580: a batch of 1,024, Adam
at 1e-3 with a warm-up of 10,000 of its 112,000 steps and a cosine, weight decay, gradients clipped at 1, mixup 0.2,
RandAugment. Decay is decoupled here (times the learning rate), so 0.1 stands for the paper's 1e-4. The tokens are
averaged.
"""

from dlcore.main import main
from experiments.classification import supervised
from experiments.recipes import SMALL_VIT, imagenet

experiment = imagenet(
    supervised.experiment,
    __file__,
    __doc__,
    "vit_s_16",
    defaults={
        "model.pool": "mean",
        "batch_size": 1024,
        "epochs": 90.0,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "warmup": 0.09,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
        "augment": "rand_augment",
        "mixup_alpha": 0.2,
    },
    smoke=SMALL_VIT,
)

if __name__ == "__main__":
    main(experiment)
