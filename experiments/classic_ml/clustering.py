"""Cluster digits without labels, and compare the clusters with the classes.

python -m experiments.classic_ml.clustering
    adjusted Rand index: k-means 0.65, single 0.00, complete 0.44, average 0.51, ward 0.79, in 20 s

k-means (k-means++ starts) and agglomerative (hierarchical) clustering by four linkages put all digits into ten groups,
which are held against the true classes by the adjusted Rand index: 0 by chance, 1 if equal. A self-organizing map is
trained too.

References: Arthur & Vassilvitskii 2007, "k-means++"; Ward 1963, "Hierarchical grouping to optimize an objective
function"; Kohonen 1982, "Self-organized formation of topologically correct feature maps".
"""

import jax
import numpy as np

from dlcore.classic_ml.hierarchical import LINKAGES, cut_tree, linkage
from dlcore.classic_ml.kmeans import KMeans, kmeans
from dlcore.classic_ml.som import SOM, som
from dlcore.data.digits import digits
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, new_figure, show_image


def draw(clustering: KMeans, grid: SOM, merges: np.ndarray, scores: dict[str, float]):
    from scipy.cluster.hierarchy import dendrogram

    figure, axes = new_figure((10, 7), 2, 2)
    bars, centers, tree, sheet = axes.ravel()
    bars.bar_label(bars.barh(list(scores), list(scores.values()), color=BLUE), fmt="%.2f", padding=3)
    bars.set(xlabel="adjusted Rand index with the true classes", xlim=(0, 1))
    bars.invert_yaxis()
    images = np.asarray(clustering.centers).reshape(-1, 8, 8)
    columns = -(-len(images) // 2)
    padded = np.concatenate([images, np.zeros((2 * columns - len(images), 8, 8))])
    show_image(centers, tiles(padded, (2, columns)), f"k-means: {len(images)} centers", cmap="gray_r")
    dendrogram(
        merges, truncate_mode="lastp", p=30, no_labels=True, ax=tree, color_threshold=0, above_threshold_color=BLUE
    )
    tree.set(title="ward: the last 30 clusters", ylabel="distance")
    rows, width, _ = grid.prototypes.shape
    prototypes = tiles(np.asarray(grid.prototypes).reshape(-1, 8, 8), (rows, width))
    show_image(sheet, prototypes, "self-organizing map: its prototypes", cmap="gray_r")
    return figure


def tiles(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """[N, h, w] as one picture of shape (rows, columns), framed."""
    framed = np.pad(images, ((0, 0), (0, 1), (0, 1)), constant_values=0.3)
    _, h, w = framed.shape
    return framed.reshape(*shape, h, w).transpose(0, 2, 1, 3).reshape(shape[0] * h, shape[1] * w)


def study(
    *,
    clusters: PositiveInt = 10,
    restarts: PositiveInt = 10,
    side: PositiveInt = 10,
    examples: PositiveInt = 1797,
    seed: Seed = 0,
) -> StudyResult:
    """Cluster digits.

    Args:
      clusters: number of clusters.
      restarts: number of k-means runs.
      side: side of the self-organizing map's square grid.
      examples: number of digits, at most 1797.
    """
    from sklearn.metrics import adjusted_rand_score

    images, labels = (
        np.concatenate([digits(split).arrays[key] for split in ("train", "test")])[:examples]
        for key in ("image", "label")
    )
    x = images.reshape(len(images), -1)
    keys = jax.random.split(jax.random.key(seed))
    clustering = kmeans(keys[0], x, clusters, restarts=restarts)
    merges = {method: linkage(x, method) for method in LINKAGES}
    groups = {"k-means": np.asarray(clustering.labels)} | {m: cut_tree(z, clusters) for m, z in merges.items()}
    scores = {name: float(adjusted_rand_score(labels, group)) for name, group in groups.items()}
    grid = som(keys[1], x, (side, side))
    monotone = bool(np.diff(clustering.history).max() <= 1e-6 * clustering.inertia)
    numbers = {f"adjusted Rand index, {name}": score for name, score in scores.items()}
    numbers |= {
        "inertia": float(clustering.inertia),
        "iterations": int(clustering.num_iterations),
        "reseeded": int(clustering.reseeded),
        "inertia never rose": monotone,
        "quantization error": np.asarray(grid.quantization)[[0, -1]].tolist(),
        "topographic error": np.asarray(grid.topographic)[[0, -1]].tolist(),
    }
    best = max(scores, key=scores.get)
    verdict = (
        f"Adjusted Rand index of {clusters} clusters: {', '.join(f'{n} {s:.2f}' for n, s in scores.items())}; {best} "
        f"is nearest to the classes. k-means: inertia {float(clustering.inertia):.0f}, which "
        f"{'never rose' if monotone else 'ROSE'}. The map's quantization error went from "
        f"{grid.quantization[0]:.2f} to {grid.quantization[-1]:.2f}, its topographic error from "
        f"{grid.topographic[0]:.2f} to {grid.topographic[-1]:.2f}."
    )
    headline = Headline("adjusted Rand index, k-means", scores["k-means"], "digits")
    figures = {"clustering": draw(clustering, grid, merges["ward"], scores)}
    return StudyResult(numbers, verdict, figures, monotone, headline)


experiment = Study(__file__, __doc__, study, smoke={"examples": 150, "restarts": 2, "side": 4})

if __name__ == "__main__":
    main(experiment)
