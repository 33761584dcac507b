"""ResNet-50 on ImageNet for 90 epochs: the recipe of Goyal et al.

python -m experiments.recipes.resnet50 --data_dir=D         (recipe, not run: 76.1 to 76.5 % are published)
python -m experiments.recipes.resnet50 --data_dir=D --milestones=30,60,90 --epochs=100     (steps, not run)
python -m experiments.recipes.resnet50 --smoke              (digits, in seconds: does everything work?)

Goyal et al., "Accurate, large minibatch SGD" (2017), arXiv:1706.02677: SGD with momentum 0.9 at 0.1 for 256 images,
five epochs of warm-up, weight decay 1e-4 on kernels, the last batch norm of every block at zero, crops of 8 to 100 % of
the image. The learning rate falls by a cosine; the second command divides it by ten after epochs 30, 60 and 90, as the
paper does after 30, 60 and 80. Scale it with `--batch_size`: 0.1 for each 256.
"""

from dlcore.main import main
from experiments.classification import supervised
from experiments.recipes import imagenet

experiment = imagenet(
    supervised.experiment,
    __file__,
    __doc__,
    "resnet50",
    defaults={
        "model.zero_init_residual": True,
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
