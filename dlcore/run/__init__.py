"""The engine that drives a learner: fit, evaluate, placement, checkpoints, hooks; without experiments and flags."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "STOP": "hooks",
        "EarlyStopping": "hooks",
        "Placement": "step",
        "ReduceOnPlateau": "hooks",
        "Result": "fit",
        "Saving": "fit",
        "Tracking": "trackers",
        "evaluate": "evaluate",
        "fit": "fit",
        "make_mesh": "sharding",
        "predict": "evaluate",
    },
)
