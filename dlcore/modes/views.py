"""Test-time augmentation for the modes evaluate and predict."""

from dlcore.evaluators.test_time_augmentation import Views, test_time_augmentation
from dlcore.learner import Batch, Learner
from dlcore.setting import FlagError, Setting

__all__ = ["TTA", "average_views"]

TTA = Setting("none", "test-time augmentation: average probabilities over views of each image", Views, identity=False)


def average_views(learner: Learner, tta: Views, example: Batch) -> Learner:
    """Average a classifier's probabilities over the views that `--tta` names.

    Args:
      learner: the experiment's learner.
      tta: a test-time augmentation, see `dlcore.evaluators.test_time_augmentation`.
      example: a batch of the run's data.

    Raises:
      FlagError: the learner is no classifier of images.
    """
    try:
        return test_time_augmentation(learner, tta, example)
    except ValueError as error:
        raise FlagError(f"--{error}") from None
