"""PixelCNN: generate digits pixel by pixel by gated convolutions, with exact likelihood; here below kernel density.

python -m experiments.generative.pixel_cnn                                                   (22.4 nats, 7 min)
python -m experiments.generative.pixel_cnn --conditional --levels=16
python -m experiments.generative.pixel_cnn --dataset=mnist --data_dir=D --batch_size=8 --steps=40000 \\
    --eval_every=20000 --pixel_cnn.dropout=0 --pixel_cnn.first_kernel=15 --pixel_cnn.num_layers=8  (82.3 nats, 60 min)
python -m experiments.generative.pixel_cnn --dataset=cifar10 --data_dir=D --levels=256 --pixel_cnn.features=96 \\
    --pixel_cnn.head_features=192 --pixel_cnn.num_layers=12
python -m experiments.generative.pixel_cnn --mode=predict --run=RUN --output=FOLDER
python -m experiments.generative.pixel_cnn --mode=predict --run=RUN --input=IMAGE --output=FOLDER

The last two write samples, and completions of the upper half of your image. `nll_nats_dynamic` is -log p of a test
image in nats, of pixels that were binarized anew; independent pixels have 26.9 on the digits. On MNIST these have 205.8
and MADE has 89.6. The third command has 83.7 nats on the validation split after 30 minutes, and 82.7 at its end. Small
batches are what it takes: 4,000 batches of 8 (0.6 epochs) reach 88.3 nats with four layers and 86.8 with eight, 8
epochs in batches of 32 reach 85.0 with four. The other commands were not run.
"""

from functools import partial

from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.generative import autoregressive
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.pixel_sequences import (
    CompleteOrDraw,
    PixelImages,
    PixelLikelihood,
    PixelNetwork,
    SamplesAndCompletions,
    uniform_levels,
)
from dlcore.generative.sample_panels import FilmSamples
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(autoregressive.learner, binarization="dynamic"),
    data=PixelImages("digits", valid_fraction=0.1, levels=2, labels=False),
    network=PixelNetwork(partial(PixelCNN, features=32, num_layers=4, dropout=0.2), conditional=False),
    optimizer=AveragedAdamW(
        learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0, ema=0.999
    ),
    length=Epochs(100, batch_size=64, eval_every=300),
    measures=[PixelLikelihood()],
    report=[SamplesAndCompletions(), FilmSamples()],
    use=CompleteOrDraw(),
    sanity=Sanity(expected_loss=uniform_levels, plain={"ema": None, "weight_decay": 0.0}),
    smoke={**few_steps(3), "pixel_cnn.features": 4, "pixel_cnn.num_layers": 1, "pixel_cnn.head_features": 4},
)

if __name__ == "__main__":
    main(experiment)
