"""iBOT: learn features by predicting an EMA teacher's output on hidden patches and on other crops.

python -m experiments.self_supervised.ibot                               (k-NN 56.2 %, three seeds, untrained 49.3)
python -m experiments.self_supervised.ibot --patch_weight=0                      (class tokens alone, as DINO)

`class_loss` is DINO's, of crops with hidden patches, and `patch_loss` that of the hidden patches. Watch `entropy` (the
teacher's, by its largest: 1 is a collapse to uniform outputs) and `usage` (0: one output for all images). As with DINO,
a small network needs prototypes that stand still (`--freeze`, in epochs): where they learn, the entropy rises to 0.99
in 210 steps.
"""

from functools import partial

from dlcore.data.image_crops import CroppedImages, Crops
from dlcore.data.images import Resizing, Views
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import ibot
from dlcore.self_supervised.prototype_network import PrototypeNetwork
from dlcore.self_supervised.teachers import DINOTeacher
from dlcore.weights.start import BackboneWeights
from experiments.smoke import CROPPED_TOKENS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(ibot.learner, local_crops=2, mask_ratio=0.3),
    data=CroppedImages(
        "digits",
        valid_fraction=0.1,
        resizing=Resizing(),
        augmentation=Crops(Views("auto"), global_area=(0.7, 1.0), local_area=(0.4, 0.8)),
        labels=False,
    ),
    network=PrototypeNetwork(
        Zoo(
            "vit_tiny_cifar",
            {"image_size": 16, "patch_size": 4, "width": 64, "depth": 3, "num_heads": 4, "mlp_features": 256},
        ),
        head={"outputs": 64, "hidden_features": 128, "bottleneck": 32, "batch_norm": True},
        patches=True,
        freeze=100.0,
        teacher=DINOTeacher(0.99, teacher_temperature=(0.04, 0.04)),
    ),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, clip_norm=3.0),
    length=Steps(1000, batch_size=64, eval_every=250, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=BackboneWeights(),
    smoke=CROPPED_TOKENS,
)

if __name__ == "__main__":
    main(experiment)
