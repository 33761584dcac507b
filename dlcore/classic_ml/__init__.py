"""Classical machine learning, the data-driven approach: classifiers, clusters, projections and densities.

Classifiers with `train` and `predict` are used as modules: `from dlcore.classic_ml import nearest_neighbor`.
"""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
