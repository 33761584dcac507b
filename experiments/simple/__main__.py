"""Measure the strongest simple methods, see `experiments.simple`."""

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Sequence

from dlcore.run import provenance
from experiments import ledger
from experiments.simple.method import SimpleMethod, all_methods


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.simple", description=__doc__)
    parser.add_argument("keys", nargs="*", metavar="KEY", help="methods to measure")
    parser.add_argument("--all", action="store_true", help="measure every method without a value")
    arguments = parser.parse_args(argv)
    methods, values = all_methods(), ledger.read_simple()
    if unknown := [key for key in arguments.keys if key not in methods]:
        print(f"{unknown[0]}: no simple method; allowed: {', '.join(methods)}", file=sys.stderr)
        return 2
    keys = arguments.keys or [key for key in methods if key not in values and arguments.all]
    for key in keys:
        values = ledger.read_simple() | {key: measured(methods[key])}  # another command may have written meanwhile
        print(json.dumps(values[key]))
        lines = [values[name] for name in methods if name in values]
        ledger.SIMPLE.write_text("".join(f"{json.dumps(value)}\n" for value in lines), encoding="utf-8")
    for key, method in methods.items() if not keys else ():
        value = f"{values[key]['mean']:.4g}" if key in values else "not measured"
        print(f"{key}: {method.metric} {value}, {method.method} ({', '.join(method.rows)})")
    return 0


def measured(method: SimpleMethod) -> dict:
    """Measure a method: the line of `values.jsonl`."""
    begin = time.perf_counter()
    values = {str(seed): method.measure(seed) for seed in method.seeds}
    return {
        "key": method.key,
        "command": f"python -m experiments.simple {method.key}",
        "rows": list(method.rows),
        "metric": method.metric,
        "better": method.better,
        "method": method.method,
        "knows": method.knows,
        "is_control": method.is_control,
        "values": values,
        "mean": statistics.fmean(values.values()),
        "seconds": round(time.perf_counter() - begin, 1),
        "commit": provenance.commit(),
        "date": datetime.date.today().isoformat(),
    }


if __name__ == "__main__":
    sys.exit(main())
