"""Launchable experiments: one experiment a file, and the ledger of what they were measured to reach."""

import gc
import sys

from dlcore.run.endings import one_line_while_importing

if sys.argv[:1] == ["-m"]:  # what python -m experiments.TOPIC.NAME has here until the module runs
    one_line_while_importing()
    gc.set_threshold(50_000, *gc.get_threshold()[1:])  # a tenth of the time to --help went into finding no garbage
