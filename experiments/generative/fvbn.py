"""Fully visible belief networks of digits with exact likelihood: MADE, NADE, logistic; here below kernel density.

python -m experiments.generative.fvbn                                                        (22.5 nats, half a minute)
python -m experiments.generative.fvbn --model=nade
python -m experiments.generative.fvbn --model=fvbn
python -m experiments.generative.fvbn --conditional --levels=16
python -m experiments.generative.fvbn --dataset=mnist --data_dir=D --epochs=90 --batch_size=256      (89.6 nats, 7 min)
python -m experiments.generative.fvbn --mode=predict --run=RUN --output=FOLDER
python -m experiments.generative.fvbn --mode=predict --run=RUN --input=IMAGE --output=FOLDER

The last two write samples, and completions of the upper half of your image. `nll_nats_dynamic` is -log p of a test
image in nats, of pixels that were binarized anew; independent pixels have 26.9 on the digits and 205.8 on MNIST. The
other models were not run in full.
"""

from functools import partial

from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.generative import autoregressive
from dlcore.generative.fvbn import MADE, NADE
from dlcore.generative.pixel_sequences import (
    BeliefNetworks,
    CompleteOrDraw,
    PixelImages,
    PixelLikelihood,
    SamplesAndCompletions,
    uniform_levels,
)
from dlcore.generative.sample_panels import FilmSamples
from dlcore.main import main
from dlcore.optim import AveragedAdamW

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(autoregressive.learner, binarization="dynamic"),
    data=PixelImages("digits", valid_fraction=0.1, levels=2, labels=False),
    network=BeliefNetworks(
        made=partial(MADE, hidden_sizes=(256, 256)),
        nade=partial(NADE, hidden_size=128),
        model="made",
        conditional=False,
    ),
    optimizer=AveragedAdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, ema=0.999),
    length=Epochs(400, batch_size=64, eval_every=500),
    measures=[PixelLikelihood()],
    report=[SamplesAndCompletions(), FilmSamples()],
    use=CompleteOrDraw(),
    sanity=Sanity(expected_loss=uniform_levels, plain={"ema": None, "weight_decay": 0.0}),
    smoke={"steps": 3, "batch_size": 8, "made.hidden_sizes": (16,), "nade.hidden_size": 8, "eval_every": 3},
)

if __name__ == "__main__":
    main(experiment)
