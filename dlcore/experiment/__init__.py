"""Experiments: the records `Experiment` and `Study`, splits, flags and their types, and the resolved run."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "Epochs": "length",
        "Experiment": "experiment",
        "FlagError": "setting",
        "Flags": "flags",
        "Headline": "study",
        "Measure": "parts",
        "NonNegativeFloat": "setting",
        "PositiveInt": "setting",
        "Range": "setting",
        "Run": "parts",
        "Sanity": "parts",
        "Seed": "setting",
        "Setting": "setting",
        "Splits": "splits",
        "Steps": "length",
        "Study": "study",
        "StudyResult": "study",
    },
)
