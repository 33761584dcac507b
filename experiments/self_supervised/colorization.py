"""Colorization pretext: learn features by predicting the colors of gray images.

python -m experiments.self_supervised.colorization                                            (crops of two photographs)
python -m experiments.self_supervised.colorization --dataset=cifar10 --data_dir=D --model.width=32 --steps=5000 \\
    --fine_tune=500,5000                                                                                     (not run)

`mse_gray` is the error of gray itself. The encoder sees images in gray afterwards, too, and so does the untrained one.
The first command has an MSE of 0.0035 on test crops, gray 0.0114; nearest neighbors find the place of 39.8 % (untrained
18.4 %), a linear probe of 37.1 % (16.4 %).
"""

from dlcore.data.images import Resizing
from dlcore.data.images_or_crops import ImagesOrCrops
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import colorization
from dlcore.self_supervised.filling_network import FillingNetwork
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=colorization.learner,
    data=ImagesOrCrops("photographs", valid_fraction=0.1, resizing=Resizing(), labels=False),
    network=FillingNetwork(
        Zoo("resnet8_cifar"),
        pretext=lambda: colorization.remove_colors,
        present=lambda: colorization.to_grayscale,
        decoder={"width": 64},
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(1000, batch_size=64, eval_every=200, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=BackboneWeights(),
    smoke=ENCODERS,
)

if __name__ == "__main__":
    main(experiment)
