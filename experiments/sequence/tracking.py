"""Motion tracking: follow a moving point in noise with a GRU, compared with the Kalman filter.

python -m experiments.sequence.tracking                        (the target moves as the filter assumes: 0.64)
python -m experiments.sequence.tracking --maneuvering          (it turns, which the filter does not know: 0.71)
python -m experiments.sequence.tracking --rnn.bidirectional    (a smoother: it sees the later ones; not run)

`rmse` is the error of the estimated position in units of the noise, so that the raw observations have 1. The network
sees the steps from one observation to the next, and answers by how much the latest one is wrong: so it works wherever
the target is. `kalman_rmse` is that of the filter of constant velocity with the right drift, than which nothing is
better on the first kind of track, and `tuned_kalman_rmse` that with the drift that is best on the training tracks.
`smoother_rmse` is of the Kalman smoother, which a bidirectional network has to be compared with. In
the first command the network is within 1 % of the filter; in the second the filter has 2.77, and tuned 0.89.
"""

from functools import partial

from dlcore.data.tracks import Tracks
from dlcore.evaluators.tracking_error import TrackingError
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AveragedAdamW
from dlcore.sequence import patterns
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(patterns.learner, pattern="many_to_many"),
    data=Tracks(maneuvering=False, train_size=10_000, test_size=1000, length=50),
    network=Network(
        partial(patterns.PatternNet, hidden_size=64, num_layers=1, cell="gru"),
        of_run=lambda run: {"num_outputs": 2, "num_tokens": 0, "categorical": False, "output_steps": 1},
        prefix="rnn",
    ),
    optimizer=AveragedAdamW(
        optimizer="adam", learning_rate=5e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0
    ),
    length=Steps(2500, batch_size=64, eval_every=500),
    measures=[TrackingError()],
    smoke={**few_steps(4), "train_size": 32, "test_size": 8, "length": 6, "eval_batch_size": 8, "rnn.hidden_size": 8},
)

if __name__ == "__main__":
    main(experiment)
