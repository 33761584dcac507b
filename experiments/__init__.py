"""Launchable experiments: one experiment a file, and the ledger of what they were measured to reach."""

import gc
import sys

from dlcore.run.endings import one_line_while_importing


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
