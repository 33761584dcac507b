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
from dlcore.generative.pixel_rnn import PixelRNN
from dlcore.kits.generative import pixel_sequences, sample_panels
from dlcore.main import main


def build(setup: Setup):
    return pixel_sequences.build(
        setup,
        PixelRNN,
        colors=setup.spec["image_shape"][-1],
        dtype=setup.dtype,
        **pixel_sequences.fields(setup, "pixel_rnn"),
    )


experiment = Experiment(
    **pixel_sequences.PAGE,
    file=__file__,
    doc=__doc__,
    build=build,
    modules={"pixel_rnn": PixelRNN},
    settings=pixel_sequences.SETTINGS,
    defaults={
        "epochs": 60.0,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "ema": 0.999,
        "eval_every": 300,
        "pixel_rnn.num_layers": 2,
    },
    smoke={
        "steps": 3,
        "batch_size": 8,
        "pixel_rnn.features": 4,
        "pixel_rnn.num_layers": 1,
        "pixel_rnn.head_features": 4,
        "eval_every": 3,
    },
    report_hooks=lambda setup: sample_panels.film_of_samples(build, setup),
)

if __name__ == "__main__":
    main(experiment)
