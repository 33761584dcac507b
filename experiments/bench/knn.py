"""Time the search for nearest neighbors against scikit-learn's brute force, as a ratio measured in one run.

python -m experiments.bench.knn
python -m experiments.bench.knn --rows=60000 --queries=10000 --num_repeats=3

Uniform random float32 images of 28x28. A ratio above one means that dlcore is faster; the claim is at least one for L2
and cosine, which both libraries compute by products of matrices. A turn is one search of all queries, from arrays in
host memory to indices in host memory; the turns are shuffled.

Measured on two CPU cores, at real-time priority (medians, lowest and highest):

    512 queries of 10,000 rows      L1 3.5 (3.2 to 3.6), L2 0.88 (0.86 to 1.33), cosine 1.09 (1.00 to 1.66)
    2,000 queries of 60,000 rows    L2 1.29 (1.27 to 1.31; 1,223 queries a second), cosine 1.93 (1.81 to 2.21)
"""

import functools

import numpy as np

from dlcore.classic_ml import nearest_neighbor
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.run import provenance
from experiments.bench.timing import Ratio, bar_chart, interleaved, ratio

SKLEARN_METRICS = {"l1": "manhattan", "l2": "euclidean", "cosine": "cosine"}


def compare(
    rows: np.ndarray, queries: np.ndarray, k: int, metric: str, num_repeats: int
) -> tuple[Ratio, dict[str, float]]:
    """(scikit-learn's seconds over ours, queries a second of both)."""
    from sklearn.neighbors import NearestNeighbors

    reference = NearestNeighbors(n_neighbors=k, algorithm="brute", metric=SKLEARN_METRICS[metric]).fit(rows)
    functions = {
        "ours": functools.partial(nearest_neighbor.nearest, rows, queries, k, metric),
        "scikit-learn": functools.partial(reference.kneighbors, queries),
    }
    times = interleaved(functions, num_repeats)
    return ratio(times, "scikit-learn", "ours"), {name: len(queries) / t.median for name, t in times.items()}


def measure(
    *,
    rows: PositiveInt = 10_000,
    queries: PositiveInt = 512,
    k: PositiveInt = 5,
    metrics: tuple[str, ...] = ("l1", "l2", "cosine"),
    num_repeats: PositiveInt = 7,
    least: float = 1.0,
) -> StudyResult:
    """Time the search in both libraries.

    Args:
      rows: images to search among.
      queries: images to search for.
      k: neighbors of each query.
      metrics: l1, l2, cosine.
      least: the claimed ratio for L2 and cosine; 50 on a GPU.
    """
    if unknown := [metric for metric in metrics if metric not in SKLEARN_METRICS]:
        raise ValueError(f"metrics={unknown[0]!r}: unknown; allowed: {', '.join(SKLEARN_METRICS)}")
    rng = np.random.default_rng(0)
    images, searched = (rng.random((n, 784), np.float32) for n in (rows, queries))
    numbers, ratios = {}, {}
    for metric in metrics:
        ratios[metric], rates = compare(images, searched, k, metric, num_repeats)
        numbers |= ratios[metric].rows(f"{metric}: scikit-learn over ours")
        numbers |= {f"{metric}: queries/s, {name}": rate for name, rate in rates.items()}
    verdict = f"{provenance.hardware()}, {queries} queries of {rows} rows, k = {k}: " + ", ".join(
        f"{metric} {r.median:.2f}x scikit-learn's speed" for metric, r in ratios.items()
    )
    chart = bar_chart(
        {metric: {"ratio": r.median} for metric, r in ratios.items()}, "scikit-learn's time over dlcore's"
    )
    holds = all(r.median >= least for metric, r in ratios.items() if metric != "l1")
    headline = Headline(
        f"scikit-learn's time over ours, {metrics[-1]}", ratios[metrics[-1]].median, "synthetic", tolerance=0.5
    )
    return StudyResult(numbers, verdict + ".", {"ratios": chart}, holds=holds, headline=headline)


experiment = Study(__file__, __doc__, measure, smoke={"rows": 200, "queries": 20, "num_repeats": 2})

if __name__ == "__main__":
    main(experiment)
