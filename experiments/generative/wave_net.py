"""WaveNet: generate tones or vowels sample by sample by dilated convolutions; here below linear prediction.

python -m experiments.generative.wave_net
python -m experiments.generative.wave_net --noconditional
python -m experiments.generative.wave_net --levels=256 --length=1024 --wave_net.num_layers=10
python -m experiments.generative.wave_net --dataset=vowels --length=1024 --sample_rate=8000 --wave_net.num_layers=10
python -m experiments.generative.wave_net --mode=predict --run=RUN --output=FOLDER --num_drawn=12
python -m experiments.generative.wave_net --mode=predict --run=RUN --output=FOLDER --sample_pitch=C4

The data are tones of the twelve semitones of an octave, as mu-law codes. `bits_per_dim_64_codes` is -log2 p of a sample
of a test tone; the report has it beside a uniform guess, the frequencies of codes, and the best n-gram.
`pitch_accuracy` is the share of generated tones whose spectrum peaks within half a semitone of the pitch that was asked
for; by chance it is 1/12. Vowels are synthetic speech (`dlcore.data.vowels`); they have the likelihood alone. The first
command reaches 2.22 bits a sample, where a 3-gram needs 3.43, and 96 % of generated tones have their pitch; one seed.
The other commands were not run. The last two write .wav files.
"""

from functools import partial

from dlcore.evaluators import sound_likelihood
from dlcore.evaluators.sound_likelihood import SoundLikelihood
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.generative import autoregressive, sounds
from dlcore.generative.code_networks import CodeNetwork
from dlcore.generative.sounds import DrawSounds, Sounds
from dlcore.generative.wave_net import WaveNet
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(autoregressive.learner, temperature=1.0),
    data=Sounds("tones", levels=64, length=512, sample_rate=4000, train_size=3000, test_size=300),
    network=CodeNetwork(partial(WaveNet, features=32, num_layers=9), conditional=True),
    optimizer=AveragedAdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0),
    length=Steps(600, batch_size=16, eval_every=200),
    measures=[SoundLikelihood()],
    report=[sound_likelihood.panels],
    use=DrawSounds(num_drawn=12),
    sanity=Sanity(expected_loss=sounds.log_levels, plain={"ema": None, "weight_decay": 0.0}),
    smoke={
        **few_steps(3, 4),
        "train_size": 24,
        "test_size": 12,
        "length": 64,
        "wave_net.features": 4,
        "wave_net.skip_features": 8,
        "wave_net.num_layers": 3,
        "eval_batch_size": 12,
    },
)

if __name__ == "__main__":
    main(experiment)
