"""Neural ODE: learn the velocity field of a spiral from trajectories.

python -m experiments.sequence.neural_ode                        (mean squared error 1e-4)
python -m experiments.sequence.neural_ode --gradient=direct      (the gradient of the solver's steps; not run)
python -m experiments.sequence.neural_ode --solver=euler         (not run)

Training sees segments of one second; `loss` of validation and test is the mean squared error over the whole
ten seconds from starts that training has not seen.
"""

from functools import partial

from dlcore.data.spirals import Spirals
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AveragedAdamW
from dlcore.report.velocity_fields import trajectory_panels
from dlcore.sequence import neural_ode
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(neural_ode.learner, solver="rk4", gradient="adjoint"),
    data=Spirals(num_trajectories=64, segment_length=11, num_test=32),
    network=Network(partial(neural_ode.VectorField, hidden_size=64, num_layers=2), prefix="field"),
    optimizer=AveragedAdamW(optimizer="adam", learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.0),
    length=Steps(4000, batch_size=128, eval_batch_size=32, eval_every=1000),
    measures=[Measure("loss", mode="min")],
    report=[trajectory_panels],
    smoke={**few_steps(4), "num_trajectories": 2, "num_test": 3, "eval_batch_size": 3, "field.hidden_size": 8},
)

if __name__ == "__main__":
    main(experiment)
