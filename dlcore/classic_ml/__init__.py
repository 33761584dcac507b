"""Classical machine learning, the data-driven approach: classifiers, clusters, projections and densities."""
