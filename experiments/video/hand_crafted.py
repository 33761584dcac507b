"""Features of clips before deep networks: HOG, HOF and MBH on dense trajectories, as Fisher vectors and visual words.

python -m experiments.video.hand_crafted

A shape moves in one of four directions over a textured ground; with `camera`, the ground moves too. Descriptors along
trajectories of the exact flow become one vector a clip, and a linear classifier (ridge regression) reads it. The claim
holds where the flow's features (HOF) beat the image's (HOG), and Fisher vectors are at least as good as visual words
with as many centers.

Reference: Wang & Schmid 2013, "Action recognition with improved trajectories".
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.kmeans import kmeans, nearest_center
from dlcore.classical_vision.fisher_vector import fisher_vector
from dlcore.data.clips import clips
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, new_figure
from dlcore.video.flow_stack import subtract_mean_flow
from dlcore.video.trajectories import describe_trajectories

FEATURES = ("hog", "hof", "mbh")


def describe(count: int, seed: int, camera: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Descriptors [count, N, D] of each kind, and the direction of each clip."""
    arrays = clips(count, seed, frames=6, size=24, flow=True, camera=camera).arrays

    @jax.jit
    def one(pair):
        clip, flow = pair
        trajectories = describe_trajectories(clip.astype(jnp.float32).mean(-1) / 255, subtract_mean_flow(flow))
        return {name: trajectories[name] for name in FEATURES}

    features = jax.lax.map(one, (jnp.asarray(arrays["clip"]), jnp.asarray(arrays["flow"])))
    return jax.tree.map(np.asarray, features), np.asarray(arrays["action"])


def accuracy(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, l2: float = 1e-2
) -> float:
    """Of ridge regression on one-hot labels."""
    train, test = (np.concatenate([x, np.ones((len(x), 1))], 1).astype(np.float64) for x in (train, test))
    solution = np.linalg.solve(train.T @ train + l2 * np.eye(train.shape[1]), train.T @ np.eye(4)[labels])
    return float(((test @ solution).argmax(1) == test_labels).mean())


def study(*, num_clips: PositiveInt = 400, centers: PositiveInt = 8, camera: bool = False) -> StudyResult:
    """Compare descriptors and their encodings.

    Args:
      num_clips: number of training clips; as many test.
      centers: Gaussians of the Fisher vectors, and visual words.
      camera: move the ground too.
    """
    (train, labels), (test, test_labels) = (describe(num_clips, seed, camera) for seed in (0, 1))
    accuracies = {}
    for name in FEATURES:
        descriptors = train[name].reshape(-1, train[name].shape[-1])
        fit = kmeans(jax.random.key(0), jnp.asarray(descriptors[:: max(1, len(descriptors) // 4000)]), centers)
        word = np.asarray(nearest_center(jnp.asarray(descriptors), fit.centers)[0])
        weights = np.bincount(word, minlength=centers) / len(word) + 1e-6
        spread = np.stack(
            [descriptors[word == k].var(0) if (word == k).any() else descriptors.var(0) for k in range(centers)]
        )
        mixture = (jnp.asarray(weights / weights.sum()), jnp.asarray(fit.centers), jnp.asarray(spread + 1e-4))
        encode = jax.jit(lambda sets, mixture=mixture: jax.lax.map(lambda x: fisher_vector(x, *mixture), sets))

        def words(sets, centers=fit.centers):
            nearest = np.asarray(nearest_center(jnp.asarray(sets.reshape(-1, sets.shape[-1])), centers)[0])
            return np.eye(len(centers))[nearest.reshape(sets.shape[:2])].mean(1)

        for kind, encoding in (("Fisher vectors", encode), ("visual words", words)):
            sets = (np.asarray(encoding(part[name])) for part in (train, test))
            accuracies[f"{name} {kind}"] = accuracy(next(sets), labels, next(sets), test_labels)
    figure, axes = new_figure((7, 3.0))
    axes.barh(list(accuracies), list(accuracies.values()), color=BLUE)
    axes.axvline(0.25, color="gray")
    axes.set_xlabel("test accuracy (line: chance)")
    axes.invert_yaxis()
    hof, hog = accuracies["hof Fisher vectors"], accuracies["hog Fisher vectors"]
    verdict = (
        f"Fisher vectors of HOF {hof:.1%}, of MBH {accuracies['mbh Fisher vectors']:.1%}, of HOG {hog:.1%}; visual "
        f"words of HOF {accuracies['hof visual words']:.1%}."
    )
    holds = hof > hog and hof >= accuracies["hof visual words"]
    headline = Headline("accuracy, Fisher vectors of HOF", hof, "clips, motion")
    return StudyResult(accuracies, verdict, {"accuracy": figure}, holds, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"num_clips": 24, "centers": 2})

if __name__ == "__main__":
    main(experiment)
