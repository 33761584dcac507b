"""What an experiment file says: experiments, studies, splits, flags, and the resolved run with its folder."""

from dlcore.experiment.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.experiment.study import Headline, Study, StudyResult

__all__ = ["Experiment", "FlagError", "Flags", "Headline", "Setting", "Setup", "Splits", "Study", "StudyResult"]
