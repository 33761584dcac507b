"""Inpainting pretext (context encoder): learn features by filling in a hole of an image; here below k-NN on pixels.

python -m experiments.self_supervised.inpainting                         (k-NN 88.2 %, untrained 82.0 %; MSE 0.016)
python -m experiments.self_supervised.inpainting --dataset=photographs                                       (not run)
python -m experiments.self_supervised.inpainting --dataset=cifar10 --data_dir=D --model.width=32 --steps=5000 \\
    --fine_tune=500,5000                                                                                     (not run)

`mse` is that of the hole alone, and `mse_mean` that of a hole filled with the mean of what is around it, 0.133 on the
test digits.
"""

from functools import partial

from dlcore.data.images import Resizing
from dlcore.data.images_or_crops import ImagesOrCrops
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import inpainting
from dlcore.self_supervised.filling_network import FillingNetwork
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(inpainting.learner, hole_share=0.5),
    data=ImagesOrCrops("digits", valid_fraction=0.1, resizing=Resizing(), labels=False),
    network=FillingNetwork(
        Zoo("resnet8_cifar"),
        pretext=lambda hole_share: partial(inpainting.hole, share=hole_share),
        decoder={"width": 64},
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(1000, batch_size=128, eval_every=200, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=BackboneWeights(),
    smoke=ENCODERS,
)

if __name__ == "__main__":
    main(experiment)
