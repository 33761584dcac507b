"""Launchable experiments: one experiment a file, and the ledger of what they were measured to reach."""

import gc
import sys

from dlcore.experiment import catalog
from dlcore.run.endings import one_line_while_importing

__all__ = ["experiment_names", "find_experiment"]


def find_experiment(name: str):
    """Import the experiment or study TOPIC.NAME."""
    return catalog.find_experiment(name, __name__)


def experiment_names() -> list[catalog.Entry]:
    """List the experiments and studies."""
    return catalog.experiment_names(__name__)


class _CloseName:
    """The last finder of modules: `python -m experiments.TOPIC.NAME` with an unknown name gets the close ones."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.startswith("experiments.") and sys.argv[:1] == ["-m"]:
            from dlcore.cli import main

            raise SystemExit(main(["run", sys.orig_argv[sys.orig_argv.index("-m") + 1]]))


if sys.argv[:1] == ["-m"]:  # what python -m experiments.TOPIC.NAME has here until the module runs
    one_line_while_importing()
    gc.set_threshold(50_000, *gc.get_threshold()[1:])  # a tenth of the time to --help went into finding no garbage
    sys.meta_path.append(_CloseName)
