"""Prototypical networks: few-shot and zero-shot classification of unseen characters; here below LDA on gradients.

python -m experiments.transfer.few_shot                                 (96.2 ± 0.3 %; pixels 53.0, untrained 49.3)
python -m experiments.transfer.few_shot --shot=5                                                      (not run)
python -m experiments.transfer.few_shot --shot=0                                                      (not run)
python -m experiments.transfer.few_shot --dataset=omniglot --data_dir=D --train_way=60 --batch_size=1 --steps=800 \\
    --eval_every=400                                          (93.8 ± 0.4 %; pixels 44.2, untrained 45.6; 6 minutes)
python -m experiments.transfer.few_shot --dataset=omniglot --data_dir=D --train_way=60 --batch_size=1 --steps=2000 \\
    --net.channels=64 --also=5x5,20x1,20x5 --eval_every=500 --eval_batch_size=4                     (96.3 ± 0.3 %)

Measured on 1,000 episodes, each number beside means of pixels and the untrained network. A class of the zero-shot
episodes is known by the strokes that it consists of, not by an image; all its characters are new. Omniglot here has
320 background characters, a third of the original's. The last command measures its network by the four customary kinds
of episodes: 96.3 % (5-way 1-shot), 99.1 % (5-way 5-shot), 88.7 % (20-way 1-shot) and 96.8 % (20-way 5-shot). Snell et
al. have 98.8, 99.7, 96.0 and 98.9 % with 964 background characters.
"""

from functools import partial

from dlcore.data.character_episodes import CharacterEpisodes
from dlcore.evaluators.character_episodes import EpisodeAccuracy, episode_panels
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models.network import Network
from dlcore.optim import AdamW
from dlcore.transfer import prototypical
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=prototypical.learner,
    data=CharacterEpisodes("strokes", way=5, shot=1, query=5, train_way=10, turned=True, test_episodes=1000),
    network=Network(partial(prototypical.PrototypicalNet, channels=32, blocks=4), prefix="net"),
    optimizer=AdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(600, batch_size=4, eval_every=200, eval_batch_size=20, select="last"),
    measures=[EpisodeAccuracy()],
    report=[episode_panels],
    sanity=Sanity(plain={"weight_decay": 0.0}),
    smoke={
        **few_steps(2, 2),
        "net.channels": 8,
        "characters": 12,
        "test_episodes": 10,
        "train_way": None,
        "eval_batch_size": 10,
    },
)

if __name__ == "__main__":
    main(experiment)
