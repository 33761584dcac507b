"""Image classification: learners that map an image to a class."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "CellNet": "architecture_search",
        "Controller": "architecture_search",
        "DistillationState": "distillation",
        "EDGES": "architecture_search",
        "OPERATIONS": "architecture_search",
        "Search": "architecture_search",
        "SupervisedState": "supervised",
        "all_architectures": "architecture_search",
        "ensemble_log_probabilities": "ensemble",
        "reinforce_search": "architecture_search",
        "snapshot_steps": "ensemble",
        "train_child": "architecture_search",
    },
)
