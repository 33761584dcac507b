"""SimMIM: learn features by predicting the raw pixels of masked patches with one linear layer.

python -m experiments.self_supervised.simmim      (k-NN 74.5 %, three seeds, untrained 56.5; probe 84.4, 83.4)
python -m experiments.self_supervised.simmim --dataset=cifar10 --data_dir=D --cell=2 --steps=20000 \\
    --batch_size=256                                                                                       (not run)

`loss` is the absolute error of the masked patches, `mean_patch` that of the mean of the image's visible patches: 0.27
and 0.82 at the end. As with MAE, judge the features by fine-tuning.
"""

from functools import partial

from dlcore.data.images import FixedAugmentation, Images, Resizing
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.optim import AdamW
from dlcore.self_supervised import simmim
from dlcore.self_supervised.patch_encoder import PatchEncoder
from dlcore.self_supervised.patch_predictors import PatchViT
from experiments.smoke import ENCODERS, MASKED_PATCHES

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(simmim.learner, mask_ratio=0.6, cell=1),
    data=Images(
        "digits", valid_fraction=0.1, resizing=Resizing(), augmentation=FixedAugmentation("auto"), labels=False
    ),
    network=PatchEncoder(partial(PatchViT, patch_size=4, depth=3, width=64, num_heads=4, mlp_features=256)),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.05),
    length=Steps(1000, batch_size=64, eval_every=250, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    smoke={**ENCODERS, **MASKED_PATCHES},
)

if __name__ == "__main__":
    main(experiment)
