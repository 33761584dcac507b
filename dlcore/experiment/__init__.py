"""Experiments: the records `Experiment` and `Study`, splits, flags, and the resolved run with its folder."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "Experiment": "experiment",
        "FlagError": "setting",
        "Flags": "flags",
        "Headline": "study",
        "Setting": "setting",
        "Setup": "experiment",
        "Splits": "splits",
        "Study": "study",
        "StudyResult": "study",
    },
)
