"""SimMIM: learn features by predicting the raw pixels of masked patches with one linear layer.

python -m experiments.self_supervised.simmim      (k-NN 74.5 %, three seeds, untrained 56.5; probe 84.4, 83.4)
python -m experiments.self_supervised.simmim --dataset=cifar10 --data_dir=D --cell=2 --steps=20000 \\
    --batch_size=256                                                                                       (not run)

`loss` is the absolute error of the masked patches, `mean_patch` that of the mean of the image's visible patches: 0.27
and 0.82 at the end. As with MAE, judge the features by fine-tuning.
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import simmim
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.masked_patches import SMALL, SMALLEST, MaskedPatches

experiment = Experiment(
    __file__,
    __doc__,
    simmim.learner,
    task=MaskedPatches(),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=0.05),
    defaults={**SMALL, "encoder.patch_size": 4, "cell": 1},
    smoke={**SMOKE, **SMALLEST},
)

if __name__ == "__main__":
    main(experiment)
