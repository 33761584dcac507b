"""Fine-tune a trained network on few images: head first, then last stage, then all; here below label spreading.

python -m experiments.transfer.fine_tuning                              (92.6 %: 10 images of each digit)
python -m experiments.transfer.fine_tuning --parts=*                    (95.8 %: all of it from the start)
python -m experiments.transfer.fine_tuning --parts=gradual:0.4@0.5 --learning_rate=0.01
                                                        (94.2 %: one layer at a time; 83.0 % with a rate of 0.001)
python -m experiments.transfer.fine_tuning --parts=head:10              (60.2 %: the network stays as it is)
python -m experiments.transfer.fine_tuning --parts=head:10 --head=mlp    (70.8 %: a hidden layer on the frozen network)
python -m experiments.transfer.fine_tuning --parts=* --init_from=none   (94.4 %: from random weights)
python -m experiments.transfer.fine_tuning --adapt=bitfit --learning_rate=0.01
                                                                (82.3 %: the head and all biases; the head alone 59.2 %)
python -m experiments.transfer.fine_tuning --dataset=mnist --data_dir=D --labels_per_class=20 --parts=* --init_from=RUN
python -m experiments.transfer.fine_tuning --dataset=folder --data_dir=D --labels_per_class=none --image_size=224 \\
    --model=resnet18 --init_from=FOLDER --parts=head,layer4*:0.1@0.3,*:0.01@0.6
python -m experiments.transfer.fine_tuning --dataset=folder --data_dir=D --labels_per_class=none --image_size=224 \\
    --model=vit_s_16 --init_from=FOLDER --parts=* --layer_decay=0.75 --learning_rate=0.0003
python -m experiments.transfer.fine_tuning --dataset=folder --data_dir=D --labels_per_class=none --image_size=224 \\
    --model=vit_s_16 --init_from=FOLDER --adapt=lora --rank=8

FOLDER holds published weights (`dlcore convert`) or is a run of your own. Which of the four cells you are in, little or
much data, similar or different, is printed first, by a linear classifier on each stage: a network of CIFAR-10 is
different from digits, so that its third stage separates them better than its last. The report says what each phase
bought. One seed, of biases three; the last three commands were not run.

`--adapt` fine-tunes with few parameters (PEFT): the network is frozen, and beside the head an adapter of
`dlcore.transfer.adapters` or LoRA (low-rank adaptation) learns. Those of attention need a transformer.

RUN is one on the embedded digits, `experiments.classification.supervised --model=vgg9_cifar --model.stages=2,2,2,2
--model.width=24 --input_size=32 --steps=1000 --batch_size=50 --eval_every=500`. With 200 labels of MNIST all of it
reaches 97.8 %, random weights 95.8 %, and the head alone 91.1 % (three seeds): 200 moved and turned images teach better
features than those of small blurred digits.
"""

from dlcore.classification import supervised
from dlcore.data.few_images import FewImages
from dlcore.data.images import Augmentation, Images, Resizing
from dlcore.evaluators.accuracy import PLAIN, log_classes
from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.report.phase_gains import PhaseGains
from dlcore.report.prediction import ClassifyImages
from dlcore.transfer.fine_tuned_network import FineTunedNetwork, FineTuningAdamW
from dlcore.weights.source_weights import SourceWeights

experiment = Experiment(
    __file__,
    __doc__,
    technique=supervised.learner,
    data=FewImages(
        Images("digits", valid_fraction=0.1, resizing=Resizing(input_size=32), augmentation=Augmentation("auto")),
        labels_per_class=10,
    ),
    network=FineTunedNetwork(Zoo("vgg9_cifar", {"stages": (2, 2, 2, 2), "width": 24}), head="linear"),
    optimizer=FineTuningAdamW(
        learning_rate=1e-3,
        schedule="cosine",
        warmup=0.1,
        weight_decay=0.01,
        parts=("head:10", "*4_*@0.2", "*:0.3@0.4"),
    ),
    length=Steps(400, batch_size=50, eval_every=40, select="last"),
    measures=[Measure("accuracy")],
    report=[PhaseGains()],
    use=ClassifyImages(),
    start=SourceWeights("cifar10"),
    sanity=Sanity(expected_loss=log_classes, plain=PLAIN, regularizer="l2"),
    smoke={"steps": 4, "batch_size": 10, "eval_every": 2, "eval_batch_size": 500, "input_size": 16},
)

if __name__ == "__main__":
    main(experiment)
