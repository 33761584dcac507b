"""Time the search for nearest neighbours beside scikit-learn's brute force, as a ratio taken in one run.

python -m experiments.bench.knn
python -m experiments.bench.knn --rows=60000 --queries=10000 --repeats=3

Uniform random float32 images of 28x28. Above one the ratio is in favour of dlcore; it should be at least one for L2 and
cosine, which both sides compute by products of matrices. A turn is one search of all queries, from arrays in host
memory to positions in host memory; the turns are shuffled.

Seen on two CPU cores, at real-time priority (medians, lowest and highest):

    512 queries of 10,000 rows      L1 3.5 (3.2 to 3.6), L2 0.88 (0.86 to 1.33), cosine 1.09 (1.00 to 1.66)
    2,000 queries of 60,000 rows    L2 1.29 (1.27 to 1.31; 1,223 queries a second), cosine 1.93 (1.81 to 2.21)
"""

import argparse
import functools
import os
from collections.abc import Sequence

import jax
import numpy as np

from dlcore.classic_ml import nearest_neighbor
from experiments.bench.conv import interleaved, ratio

THEIRS = {"l1": "manhattan", "l2": "euclidean", "cosine": "cosine"}


def compare(rows: np.ndarray, queries: np.ndarray, k: int, metric: str, repeats: int) -> dict[str, float]:
    """scikit-learn's seconds over ours (median, low, high, cpu), and queries a second of both."""
    from sklearn.neighbors import NearestNeighbors

    oracle = NearestNeighbors(n_neighbors=k, algorithm="brute", metric=THEIRS[metric]).fit(rows)
    times = interleaved(
        {
            "ours": functools.partial(nearest_neighbor.nearest, rows, queries, k, metric),
            "scikit-learn": functools.partial(oracle.kneighbors, queries),
        },
        repeats,
    )
    rates = {name: len(queries) / float(np.median(t.wall)) for name, t in times.items()}
    return ratio(times, "scikit-learn", "ours") | rates


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--metrics", nargs="+", choices=list(THEIRS), default=list(THEIRS))
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    rows, queries = (rng.random((n, 784), np.float32) for n in (options.rows, options.queries))
    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}")
    print(f"{options.queries} queries, {options.rows} rows, k = {options.k}")
    print(f"{'':8}{'ours, queries/s':>18}{'scikit-learn':>16}{'ratio':>8}{'low':>8}{'high':>8}{'cpu':>8}")
    found = {}
    for metric in options.metrics:
        r = found[metric] = compare(rows, queries, options.k, metric, options.repeats)
        told = "".join(f"{r[key]:>8.2f}" for key in ("median", "low", "high", "cpu"))
        print(f"{metric:8}{r['ours']:>18.0f}{r['scikit-learn']:>16.0f}{told}")
    return found


if __name__ == "__main__":
    main()
