"""PixelRNN: generate digits pixel by pixel by diagonal LSTMs, with exact likelihood; here below kernel density.

python -m experiments.generative.pixel_rnn          (23.3 nats, independent pixels 26.9; 2 min on an H100)
python -m experiments.generative.pixel_rnn --conditional --levels=16
python -m experiments.generative.pixel_rnn --dataset=mnist --data_dir=D --batch_size=128 --epochs=8
python -m experiments.generative.pixel_rnn --mode=predict --run=RUN --output=FOLDER
python -m experiments.generative.pixel_rnn --mode=predict --run=RUN --input=IMAGE --output=FOLDER

The last two write samples, and completions of the upper half of your image. `nll_nats_dynamic` is -log p of a test
image in nats, of pixels that were binarized anew. Only the first command was run.
"""

from functools import partial

from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.generative import autoregressive
from dlcore.generative.pixel_rnn import PixelRNN
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
    network=PixelNetwork(partial(PixelRNN, features=16, num_layers=2), conditional=False),
    optimizer=AveragedAdamW(
        learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0, ema=0.999
    ),
    length=Epochs(60, batch_size=64, eval_every=300),
    measures=[PixelLikelihood()],
    report=[SamplesAndCompletions(), FilmSamples()],
    use=CompleteOrDraw(),
    sanity=Sanity(expected_loss=uniform_levels, plain={"ema": None, "weight_decay": 0.0}),
    smoke={**few_steps(3), "pixel_rnn.features": 4, "pixel_rnn.num_layers": 1, "pixel_rnn.head_features": 4},
)

if __name__ == "__main__":
    main(experiment)
