"""Measure the tables of papers, see `experiments.papers`."""

import argparse
import datetime
import fcntl
import json
import sys
import time
from collections.abc import Mapping, Sequence

from dlcore.run import provenance
from experiments.papers import page
from experiments.papers.table import Run, Table, all_tables

README = page.VALUES.with_name("README.md")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.papers", description=__doc__)
    parser.add_argument("keys", nargs="*", metavar="KEY", help="tables to measure")
    parser.add_argument("--run", help="measure this run of the table alone")
    parser.add_argument("--again", action="store_true", help="measure seeds that have a value once more")
    parser.add_argument("--queue", action="store_true", help="measure what has no value, table by table")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no seed after so many seconds")
    parser.add_argument("--write", action="store_true", help="write README.md")
    arguments = parser.parse_args(argv)
    tables = all_tables()
    if unknown := [key for key in arguments.keys if key not in tables]:
        print(f"{unknown[0]}: no table; allowed: {', '.join(tables)}", file=sys.stderr)
        return 2
    begin = time.perf_counter()
    selected = list(tables) if arguments.queue else arguments.keys
    runs = [(tables[key], run) for key in selected for run in tables[key].runs if arguments.run in (None, run.name)]
    if arguments.run is not None and not runs:
        names = [run.name for key in selected for run in tables[key].runs]
        print(f"--run={arguments.run}: no run; allowed: {', '.join(names)}", file=sys.stderr)
        return 2
    for table, run in runs:
        for seed in run.seeds:
            line = page.read_values().get((table.key, run.name), {"values": {}})
            is_new = str(seed) not in line["values"] or arguments.again
            if is_new and time.perf_counter() - begin < arguments.seconds:
                measure(table, run, seed)
    values = page.read_values()
    if arguments.write or runs:
        README.write_text(page.render(tables, values), encoding="utf-8")
    for key, table in tables.items() if not selected and not arguments.write else ():
        done = sum((key, run.name) in values for run in table.runs)
        print(f"{key}: {table.paper}, {table.place}; {done} of {len(table.runs)} runs measured")
    return 0


def measure(table: Table, run: Run, seed: int) -> None:
    """Measure a seed of a run, and write its line of values.jsonl."""
    begin = time.perf_counter()
    result = run.measure(seed)
    seconds = round(time.perf_counter() - begin, 1)
    numbers = dict(result) if isinstance(result, Mapping) else {run.name: result}
    if numbers.keys() != run.numbers().keys():
        raise ValueError(f"{table.key}, {run.name}: gave {', '.join(numbers)}; allowed: {', '.join(run.numbers())}")
    with open(page.VALUES.with_suffix(".lock"), "w", encoding="utf-8") as lock:  # another command may write meanwhile
        fcntl.flock(lock, fcntl.LOCK_EX)
        values = page.read_values()
        line = values.get((table.key, run.name), {"table": table.key, "run": run.name, "values": {}, "seconds": {}})
        line["values"][str(seed)] = {name: float(value) for name, value in numbers.items()}
        line["seconds"][str(seed)] = seconds
        line |= {"commit": provenance.commit(), "date": datetime.date.today().isoformat()}
        line["hardware"] = provenance.hardware()
        values[table.key, run.name] = line
        page.VALUES.write_text("".join(f"{json.dumps(value)}\n" for value in values.values()), encoding="utf-8")
    print(f"{table.key}, {run.name}, seed {seed}: {line['values'][str(seed)]} in {seconds} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
