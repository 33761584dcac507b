"""ResNet-152 on ImageNet for 90 epochs: torchvision's reference.

python -m experiments.recipes.resnet152 --data_dir=D         (recipe, not run: 78.3 % is published)
python -m experiments.recipes.resnet152 --smoke              (digits, in seconds: does everything work?)

He et al., "Deep residual learning for image recognition" (2015), arXiv:1512.03385, with the settings of torchvision's
first weights: SGD with momentum 0.9 at 0.1 for 256 images, weight decay 1e-4, 90 epochs, crops of 8 to 100 % of the
image. The learning rate falls by a cosine after five epochs of warm-up rather than in steps, and decay is on kernels
only.
"""

from dlcore.main import main
from experiments.classification import supervised
from experiments.recipes import imagenet

experiment = imagenet(
    supervised.experiment,
    __file__,
    __doc__,
    "resnet152",
    defaults={
        "batch_size": 256,
        "epochs": 90.0,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "warmup": 5 / 90,
        "weight_decay": 1e-4,
    },
    smoke={"model.stages": (1, 1, 1, 1)},
)

if __name__ == "__main__":
    main(experiment)
