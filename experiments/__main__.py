"""List the experiments: `python -m experiments [WORD]`, as `dlcore experiments` does."""

import sys

from dlcore.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["experiments", *sys.argv[1:]]))
