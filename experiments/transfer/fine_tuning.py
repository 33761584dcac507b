"""Fine-tuning of a trained network on few images: its head first, then its last stage, then all of it.

python -m experiments.transfer.fine_tuning                              (92.6 %: 10 images of each digit)
python -m experiments.transfer.fine_tuning --parts=*                    (95.8 %: all of it from the start)
python -m experiments.transfer.fine_tuning --parts=head:10              (60.2 %: the network stays as it is)
python -m experiments.transfer.fine_tuning --parts=head:10 --head=mlp    (70.8 %: a hidden layer on the frozen network)
python -m experiments.transfer.fine_tuning --parts=* --init_from=none   (94.4 %: from random weights)
python -m experiments.transfer.fine_tuning --dataset=mnist --data_dir=D --labels_per_class=20 --parts=* --init_from=RUN
python -m experiments.transfer.fine_tuning --dataset=folder --data_dir=D --labels_per_class=none --image_size=224 \\
    --model=resnet18 --init_from=FOLDER --parts=head,layer4*:0.1@0.3,*:0.01@0.6
python -m experiments.transfer.fine_tuning --dataset=folder --data_dir=D --labels_per_class=none --image_size=224 \\
    --model=vit_s_16 --init_from=FOLDER --parts=* --layer_decay=0.75 --learning_rate=0.0003

FOLDER holds published weights (`dlcore convert`) or is a run of your own. Which of the four cells you are in, little or
much data, similar or different, is printed first, by a linear classifier on each stage: a network of CIFAR-10 is
different from digits, so that its third stage separates them better than its last. The report says what each phase
bought. One seed; the last two commands were not run.

RUN is one on the embedded digits, `experiments.classification.supervised --model=vgg9_cifar --model.stages=2,2,2,2
--model.width=24 --input_size=32 --steps=1000 --batch_size=50 --eval_every=500`. With 200 labels of MNIST all of it
reaches 97.8 %, random weights 95.8 %, and the head alone 91.1 % (three seeds): 200 moved and turned images teach better
features than those of small blurred digits.
"""

import math

from dlcore.classification import supervised
from dlcore.experiment import Experiment, Setup
from dlcore.kits.images import classifier_panels, labeled_images, prediction
from dlcore.kits.training import backbone, optimizer
from dlcore.kits.transfer import fine_tuning
from dlcore.main import main
from dlcore.transfer.frozen import PartlyFrozen


def build(setup: Setup):
    return supervised.learner(
        model=PartlyFrozen(
            fine_tuning.with_head(backbone.build(setup), setup.flags), fine_tuning.parts_of(setup.flags)
        ),
        optimizer=fine_tuning.build_optimizer(setup),
        preprocess=labeled_images.preprocess(setup),
        augment=labeled_images.augmentation(setup.flags, setup.spec),
        **setup.flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=supervised.learner,
    data=fine_tuning.data,
    build=build,
    model="vgg9_cifar",
    settings=fine_tuning.SETTINGS,
    defaults={
        "model.stages": (2, 2, 2, 2),
        "model.width": 24,
        "input_size": 32,
        "steps": 400,
        "batch_size": 50,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "eval_every": 40,
        "select": "last",
    },
    smoke={"steps": 4, "batch_size": 10, "eval_every": 2, "eval_batch_size": 500, "input_size": 16},
    expected_loss=lambda setup: math.log(setup.spec["num_classes"]),
    plain=classifier_panels.PLAIN,
    regularizer="l2",
    inputs=prediction.inputs,
    describe=prediction.describe,
    check=fine_tuning.check,
    start=fine_tuning.start,
    notes=fine_tuning.notes,
    schedule=optimizer.schedule,
    panels=fine_tuning.panels,
    pictures=classifier_panels.pictures,
)

if __name__ == "__main__":
    main(experiment)
