"""Score SDE: generate digits along the score of noisy images, by a stochastic equation, its flow, or Langevin's steps.

python -m experiments.generative.score_sde
python -m experiments.generative.score_sde --mode=evaluate --run=RUN --sampler=ode --num_inference_steps=50
python -m experiments.generative.score_sde --sde=ve --sampler=langevin --num_inference_steps=100

200 steps of the reverse equation call the network 200 times, 50 of the flow 100 times, and 100 levels of Langevin's 5
steps 501 times.
"""

from dlcore.experiment import Experiment
from dlcore.generative import score_sde
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.denoised_images import DenoisedImages
from experiments.smoke import few_samples

experiment = Experiment(
    __file__,
    __doc__,
    score_sde.learner,
    task=DenoisedImages(),
    optimizer=AveragedAdamW(learning_rate=1e-3, weight_decay=0.0, clip_norm=1.0, ema=0.999),
    smoke={**few_samples(3), "unet.width": 8, "unet.channel_multipliers": (1,), "num_inference_steps": 4},
)

if __name__ == "__main__":
    main(experiment)
