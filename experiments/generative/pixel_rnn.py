"""PixelRNN: generate digits pixel by pixel by diagonal LSTMs, with exact likelihood.

python -m experiments.generative.pixel_rnn          (23.3 nats, independent pixels 26.9; 2 min on an H100)
python -m experiments.generative.pixel_rnn --conditional --levels=16
python -m experiments.generative.pixel_rnn --dataset=mnist --data_dir=D --batch_size=128 --epochs=8
python -m experiments.generative.pixel_rnn --mode=predict --run=RUN --output=FOLDER
python -m experiments.generative.pixel_rnn --mode=predict --run=RUN --input=IMAGE --output=FOLDER

The last two write samples, and completions of the upper half of your image. `nll_nats_dynamic` is -log p of a test
image in nats, of pixels that were binarized anew. Only the first command was run.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import autoregressive
from dlcore.generative.pixel_rnn import PixelRNN
from dlcore.kits.generative import samples
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.pixel_sequences import PixelSequences, color_fields, network_arguments
from experiments.smoke import few_steps


def arguments(setup: Setup) -> dict:
    return network_arguments(setup, PixelRNN, **color_fields(setup, "pixel_rnn"))


experiment = Experiment(
    __file__,
    __doc__,
    autoregressive.learner,
    task=PixelSequences(),
    optimizer=AveragedAdamW(learning_rate=2e-3, weight_decay=0.01, clip_norm=1.0, ema=0.999),
    arguments=arguments,
    settings=samples.SAMPLE_CLASS,
    modules={"pixel_rnn": PixelRNN},
    defaults={"epochs": 60.0, "batch_size": 64, "eval_every": 300, "pixel_rnn.num_layers": 2},
    smoke={**few_steps(3), "pixel_rnn.features": 4, "pixel_rnn.num_layers": 1, "pixel_rnn.head_features": 4},
)

if __name__ == "__main__":
    main(experiment)
