"""MobileNetV2 on ImageNet for 300 epochs.

python -m experiments.recipes.mobilenet_v2 --data_dir=D         (recipe, not run: 71.9 % is published)
python -m experiments.recipes.mobilenet_v2 --smoke              (digits, in seconds: does everything work?)

Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (2018), arXiv:1801.04381, with the settings of
torchvision's reference: SGD with momentum 0.9 at 0.045 for 256 images, weight decay 4e-5. The learning rate falls
exponentially, to a hundredth over the whole run here, by 0.98x an epoch there, which ends lower.
"""

from dlcore.main import main
from experiments.classification import supervised
from experiments.recipes import imagenet

experiment = imagenet(
    supervised.experiment,
    __file__,
    __doc__,
    "mobilenet_v2",
    defaults={
        "batch_size": 256,
        "epochs": 300.0,
        "optimizer": "sgd",
        "learning_rate": 0.045,
        "momentum": 0.9,
        "schedule": "exponential",
        "warmup": 0.0,
        "weight_decay": 4e-5,
    },
    smoke={"model.width_mult": 0.25},
)

if __name__ == "__main__":
    main(experiment)
