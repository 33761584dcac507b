"""ViT-L/16 on ImageNet for 200 epochs, from scratch.

python -m experiments.recipes.vit_l16 --data_dir=D         (recipe, not run: 82.5 % is published)
python -m experiments.recipes.vit_l16 --smoke              (digits, in seconds: does everything work?)

He et al., "Masked autoencoders are scalable vision learners" (2021), arXiv:2111.06377, appendix A.2: AdamW at 1.6e-3
for 4,096 images with 20 epochs of warm-up and a cosine, weight decay 0.3, mixup 0.8 or CutMix 1.0, label smoothing 0.1,
RandAugment, stochastic depth 0.2, an average of the parameters. Adam's second decay rate is 0.999 here, 0.95 there.
Scale the learning rate with the batch size.
"""

from dlcore.main import main
from experiments.classification import supervised
from experiments.recipes import SMALL_VIT, imagenet

experiment = imagenet(
    supervised.experiment,
    __file__,
    __doc__,
    "vit_l_16",
    defaults={
        "model.drop_path": 0.2,
        "batch_size": 4096,
        "epochs": 200.0,
        "optimizer": "adamw",
        "learning_rate": 1.6e-3,
        "warmup": 20 / 200,
        "weight_decay": 0.3,
        "augment": "rand_augment",
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "label_smoothing": 0.1,
        "ema": 0.9999,
    },
    smoke={**SMALL_VIT, "model.width": 64, "model.num_heads": 2, "model.mlp_features": 128},
)

if __name__ == "__main__":
    main(experiment)
