"""Un-rotation pretext: learn features by painting turned images upright; here below k-NN on pixels.

python -m experiments.self_supervised.unrotation  (k-NN 90.7 %, untrained 81.4 %, three seeds)
python -m experiments.self_supervised.unrotation --num_angles=4                    (quarter turns, as RotNet's; not run)

`mse` is that of the upright image, and `mse_mean` that of the image's mean color. The notes of the run say what the
mean image of the training split reaches.
"""

from functools import partial

from dlcore.data.images import Resizing
from dlcore.data.images_or_crops import ImagesOrCrops, MeanImage
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import unrotation
from dlcore.self_supervised.filling_network import FillingNetwork
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(unrotation.learner, num_angles=0),
    data=ImagesOrCrops("digits", valid_fraction=0.1, resizing=Resizing(), labels=False),
    network=FillingNetwork(
        Zoo("resnet8_cifar"),
        pretext=lambda num_angles: partial(unrotation.rotate_image, num_angles=num_angles),
        decoder={"width": 64},
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(1000, batch_size=128, eval_every=200, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1)), MeanImage()],
    start=BackboneWeights(),
    smoke=ENCODERS,
)

if __name__ == "__main__":
    main(experiment)
