"""Domain adaptation from plain digits to digits on photographs: DANN, MMD or CORAL against no adaptation.

python -m experiments.transfer.domain_adaptation                                (52.4 % on the target, 53.0 without)
python -m experiments.transfer.domain_adaptation --technique=mmd                                (54.0 %, 53.0 without)
python -m experiments.transfer.domain_adaptation --technique=coral --strength=30                             (not run)
python -m experiments.transfer.domain_adaptation --shift=inverted                                            (not run)
python -m experiments.transfer.domain_adaptation --technique=mmd --model=resnet8_cifar                       (not run)
python -m experiments.transfer.domain_adaptation --init_from=RUN                                             (not run)
python -m experiments.transfer.domain_adaptation --dataset=mnist --data_dir=D --patches=cifar10 \\
    --steps=2000                                                                                 (56.3 %, 31.2 without)

On 1,297 digits adaptation brings next to nothing, on MNIST's 60,000 it brings 25 points, as in the literature (Ganin et
al.: 52.3 to 76.7 %, with patches of BSDS); one seed each.

The target are other digits, blended with patches of photographs: |digit - patch|, as MNIST-M, with scikit-learn's
sample photographs or CIFAR-10 in place of BSDS. Its labels are for measuring alone. `source_only_accuracy` is that of
the same network on the same batches without the adaptation. Inverted digits are the stress test: classes may be
aligned with each other's.
"""

from functools import partial

from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.main import main
from dlcore.optim import AdamW
from dlcore.report.domains import domain_panels
from dlcore.transfer import domain_adaptation
from dlcore.transfer.two_domains import TwoDomains
from dlcore.weights.adapted_network import AdaptedNetwork, TwinBackboneWeights

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(domain_adaptation.learner, technique="dann"),
    data=TwoDomains("digits", shift="blended", patches="photographs"),
    network=AdaptedNetwork(partial(domain_adaptation.AdaptationNet, channels=(32, 64), width=128)),
    optimizer=AdamW(
        "sgd", learning_rate=0.01, schedule="cosine", warmup=0.1, momentum=0.9, weight_decay=0.0, clip_norm=1.0
    ),
    length=Steps(1200, batch_size=64, eval_every=200, select="last"),
    measures=[Measure("target_accuracy")],
    report=[domain_panels],
    start=TwinBackboneWeights(),
    sanity=Sanity(plain={"weight_decay": 0.0}),
    smoke={"net.channels": (8,), "net.width": 8, "steps": 2, "batch_size": 16, "eval_every": 2, "eval_batch_size": 500},
)

if __name__ == "__main__":
    main(experiment)
