"""MoCo v3: learn features of a vision transformer by a contrastive loss, without a queue; here below k-NN on pixels.

python -m experiments.self_supervised.moco_v3      (k-NN 70.6 %, three seeds, untrained 44.1; probe 86.0, 75.2)
python -m experiments.self_supervised.moco_v3 --nofrozen_patches               (the patch embedding learns, too)
"""

from functools import partial

from dlcore.data.images import Images, Resizing, Views
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import moco_v3
from dlcore.self_supervised.siamese_network import Siamese
from dlcore.self_supervised.teachers import TargetMomentum
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(moco_v3.learner, temperature=0.2, frozen_patches=True),
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Views("auto"), labels=False),
    network=Siamese(
        Zoo(
            "vit_tiny_cifar",
            {"image_size": 8, "patch_size": 2, "width": 64, "depth": 3, "num_heads": 4, "mlp_features": 128},
        ),
        head={"proj_dim": 64, "hidden_features": 256, "layers": 3, "norm_output": True, "predictor_features": 256},
        target=TargetMomentum(0.99),
    ),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=1e-2),
    length=Steps(500, batch_size=128, eval_every=100, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1), embeddings=True)],
    start=BackboneWeights(),
    smoke={
        **{name: value for name, value in ENCODERS.items() if not name.startswith("model.")},
        "model.width": 8,
        "model.depth": 1,
        "model.num_heads": 2,
        "model.mlp_features": 8,
        "head.hidden_features": 8,
        "head.proj_dim": 4,
        "head.predictor_features": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
