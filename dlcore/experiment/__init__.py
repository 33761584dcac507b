"""Experiments: the records `Experiment` and `Study`, splits, flags and their types, and the resolved run."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "Epochs": "length",
        "Experiment": "experiment",
        "FlagError": "dlcore.setting",
        "Flags": "flags",
        "Headline": "study",
        "Measure": "parts",
        "NonNegativeFloat": "dlcore.setting",
        "PositiveInt": "dlcore.setting",
        "Range": "dlcore.setting",
        "Run": "parts",
        "Sanity": "parts",
        "Seed": "dlcore.setting",
        "Setting": "dlcore.setting",
        "Splits": "dlcore.data.splits",
        "Steps": "length",
        "Study": "study",
        "StudyResult": "study",
    },
)
