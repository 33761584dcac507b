"""Render, extend and verify the ledger of measured results.

python -m experiments.results                                 renders experiments/README.md from results.jsonl
python -m experiments.results --check                         fails where it is out of date or says nothing of a file
python -m experiments.results --add RUN_DIR [RUN_DIR ...]     adds finished runs, one a seed, or a study, as one row
python -m experiments.results --annotate ID --baseline 0.1 --baseline_name TEXT
python -m experiments.results --annotate ID --published 0.992 --source TEXT --note TEXT
                                                              changes what readers compare a row with, not what it says
python -m experiments.results --rerun ID [--seed 1]           runs the command again and compares
python -m experiments.results --rerun ID --seed all           runs every seed again and compares the mean

A learned number needs a baseline (the untrained network, the most frequent class, the same training without the
technique): `--add` takes that of the run, or --baseline and --baseline_name. A file without a row needs a reason in
not_run.json.

A command with `--data_dir=$DATA_DIR` reads real data: set DATA_DIR to its folder for `--rerun`.
"""

import argparse
import difflib
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dlcore.report.measures import in_per_cent
from experiments import ledger

__all__ = ["main", "render"]

ROOT = pathlib.Path(__file__).resolve().parents[1]
BELOW = "below its baseline"
"""What the value of a row says that is not better than its baseline."""
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def main(argv: Sequence[str] | None = None, root: str | os.PathLike = ROOT) -> int:
    """Render, check, extend or rerun the ledger of a checkout; return 1 where it is out of date or a rerun differs."""
    arguments = _parser().parse_args(argv)
    folder = pathlib.Path(root) / "experiments"
    try:
        if arguments.rerun:
            return _rerun(arguments, pathlib.Path(root))
        if arguments.add:
            _add(arguments, folder / "results.jsonl")
        if arguments.annotate:
            _annotate(arguments, folder / "results.jsonl")
        return _write_readme(folder, arguments.check)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.results", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check", action="store_true", help="exit with 1 where README.md is out of date or files are missing"
    )
    action.add_argument("--add", nargs="+", metavar="RUN_DIR", help="run folders of one experiment, one a seed")
    action.add_argument("--annotate", metavar="ID", help="the row whose baseline, published number or note to change")
    action.add_argument("--rerun", metavar="ID", help="the row to run again")
    parser.add_argument("--id", help="with --add: the row's id; by default experiment-dataset")
    parser.add_argument("--tolerance", type=float, help="with --add: by default the seeds' spread, 1%% at least")
    parser.add_argument("--baseline", type=float, metavar="VALUE", help="with --add or --annotate: what must be beaten")
    parser.add_argument("--baseline_name", default="", metavar="TEXT", help="with --baseline: what has this value")
    parser.add_argument("--better", choices=("higher", "lower"), help="with --baseline: by default the measure's own")
    parser.add_argument("--published", type=float, metavar="VALUE", help="with --add or --annotate: published number")
    parser.add_argument("--source", default="", help="with --published: where it is published")
    parser.add_argument("--note", help="with --add or --annotate: a remark for readers")
    parser.add_argument("--replace", action="store_true", help="with --add: replace the row with this id")
    parser.add_argument("--seed", help="with --rerun: by default the row's first; all compares their mean")
    return parser


def _published(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if (arguments.published is None) != (not arguments.source):
        raise ValueError(
            "--published: a number without its source cannot be checked; allowed: with --source, or neither"
        )
    return {"value": arguments.published, "source": arguments.source} if arguments.source else None


def _baseline(arguments: argparse.Namespace, metric: str) -> dict[str, Any] | None:
    if (arguments.baseline is None) != (not arguments.baseline_name):
        raise ValueError(
            "--baseline: a number without its name says nothing; allowed: with --baseline_name, or neither"
        )
    if arguments.baseline is None:
        if arguments.better:
            raise ValueError(f"--better={arguments.better}: of no baseline; allowed: with --baseline")
        return None
    return ledger.baseline_field(arguments.baseline, arguments.baseline_name, metric, arguments.better)


def _add(arguments: argparse.Namespace, path: pathlib.Path) -> None:
    candidates, published = [ledger.candidate(run) for run in arguments.add], _published(arguments)
    first, old_rows = candidates[0], {line["id"]: line for line in ledger.read(path)}
    old, baseline = old_rows.get(arguments.id or ledger.default_id(first)), _baseline(arguments, first["metric"])
    same = old is not None and all(first[field] == old[field] for field in ("dataset", "metric"))
    if baseline is None and first.get("baseline") is None and same:
        baseline = old["baseline"]
    row = ledger.merge(
        candidates,
        arguments.id,
        arguments.tolerance,
        published,
        arguments.note or "",
        baseline,
        ledger.history(path.parent),
    )
    if old is None:
        ledger.append(row, path)
    elif not arguments.replace:
        raise ValueError(f"--id={row['id']}: is in {path} already; allowed: a new id, or --replace")
    elif old["note"] and arguments.note is None:
        raise ValueError(
            f"--replace: the row {row['id']} has the note {old['note']!r}, which may be of the old number; "
            "allowed: with --note=TEXT, or --note= for none"
        )
    else:
        ledger.replace(row | {"published": published or (old["published"] if same else None)}, path)
    ledger.drop_reason(ledger.page(row["command"]), path.with_name("not_run.json"))
    print(f"{row['id']}: {row['metric']} {_value(row)}")


def _annotate(arguments: argparse.Namespace, path: pathlib.Path) -> None:
    row, published = _row("annotate", arguments.annotate, path), _published(arguments)
    baseline = _baseline(arguments, row["metric"])
    if published is None and baseline is None and arguments.note is None:
        raise ValueError(
            f"--annotate={row['id']}: changes nothing; allowed: with --published and --source, --baseline and "
            "--baseline_name, or --note"
        )
    if baseline is not None:
        row["baseline"] = baseline
    if published is not None:
        row["published"] = published
    if arguments.note is not None:
        row["note"] = arguments.note
    ledger.replace(row, path)


def _row(flag: str, name: str, path: pathlib.Path) -> dict[str, Any]:
    rows = {row["id"]: row for row in ledger.read(path)}
    if name not in rows:
        close = difflib.get_close_matches(name, rows, n=3, cutoff=0.4)
        raise ValueError(f"--{flag}={name}: unknown; allowed: {', '.join(close or rows)}")
    return rows[name]


def _rerun(arguments: argparse.Namespace, root: pathlib.Path) -> int:
    row = _row("rerun", arguments.rerun, root / "experiments" / "results.jsonl")
    if row["status"] == ledger.RECIPE:
        raise ValueError(f"--rerun={row['id']}: a recipe that was never run; allowed: measured rows")
    study = "claim" in row
    if study and arguments.seed:
        raise ValueError(f"--seed={arguments.seed}: {row['id']} is a study; allowed: no seed, it measures all of them")
    seeds = list(row["values"]) if arguments.seed == "all" else [arguments.seed or next(iter(row["values"]))]
    if seeds[0] not in row["values"]:
        allowed = ", ".join([*row["values"], "all"])
        raise ValueError(f"--seed={arguments.seed}: not a seed of {row['id']}; allowed: {allowed}")
    values = {}
    for words in [[]] if study else [[f"--seed={seed}"] for seed in seeds]:
        line = _run(row, words, root)
        if line is None:
            return 1
        values |= line["values"]
    recorded = row["values"] if study else {seed: row["values"][seed] for seed in seeds}
    if values.keys() != recorded.keys():
        print(f"seeds {', '.join(recorded)} are recorded, {', '.join(values)} were run: DOES NOT HOLD")
        return 1
    value, before = statistics.fmean(values.values()), statistics.fmean(recorded.values())
    same = abs(value - before) <= row["tolerance"]
    subject = f"mean of {len(values)} seeds" if len(values) > 1 else "the study" if study else f"seed {seeds[0]}"
    print(
        f"{row['metric']}, {subject}: recorded {before:.6g}, now {value:.6g}, difference {value - before:+.3g}, "
        f"tolerance {row['tolerance']:g}: {'holds' if same else 'DOES NOT HOLD'}"
    )
    if study:
        agrees = line["holds"] == row["holds"]
        print(f"the claim: recorded {_outcome(row)}, now {_outcome(line)}: {'holds' if agrees else 'DOES NOT HOLD'}")
        same = same and agrees
    _print_differences(row, line)
    return 0 if same else 1


def _run(row: dict[str, Any], words: list[str], root: pathlib.Path) -> dict[str, Any] | None:
    """Run a row's command once more: its result, or None where it fails."""
    command = row["command"]
    if "$DATA_DIR" in command and "DATA_DIR" not in os.environ:
        raise ValueError(f"DATA_DIR is not set, for {command}; allowed: the folder of {row['dataset']}")
    program = [word.replace("$DATA_DIR", os.environ.get("DATA_DIR", "")) for word in shlex.split(command)[1:]]
    with tempfile.TemporaryDirectory() as folder:
        run_dir = pathlib.Path(folder) / "run"
        print(f"running {' '.join([command, *words])}", flush=True)
        done = subprocess.run([sys.executable, *program, *words, f"--run_dir={run_dir}"], cwd=root, check=False)
        if done.returncode:
            print(f"the command failed with exit status {done.returncode}", file=sys.stderr)
            return None
        return ledger.candidate(run_dir)


def _print_differences(row: dict[str, Any], line: dict[str, Any]) -> None:
    """Say what else changed between a row and its rerun, and so may explain a difference."""
    if line["hardware"] != row["hardware"]:
        print(
            f"note: recorded on {row['hardware']}, now on {line['hardware']}: other processors round differently, and "
            "a training of the same seed drifts apart; --seed=all compares the mean over seeds"
        )
    before, now = row["versions"], line["versions"]
    if names := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
        print("note: other versions: " + ", ".join(f"{n} {before.get(n)}, now {now.get(n)}" for n in names))


def _outcome(row: dict[str, Any]) -> str:
    return {True: "held", False: "did not hold", None: "nothing claimed"}[row["holds"]]


def _write_readme(folder: pathlib.Path, check: bool) -> int:
    readme = folder / "README.md"
    before = readme.read_text(encoding="utf-8") if readme.exists() else f"# Experiments\n\n{BEGIN}\n{END}\n"
    if before.count(BEGIN) != 1 or before.count(END) != 1 or before.index(BEGIN) > before.index(END):
        raise ValueError(f"{readme}: cannot be rendered; allowed: the lines {BEGIN} and {END} once, in this order")
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    rows, reasons = ledger.read(folder / "results.jsonl"), ledger.read_not_run(folder / "not_run.json")
    simple = ledger.best_simple(ledger.read_simple(folder / "simple" / "values.jsonl"))
    after = f"{head}{BEGIN}\n{render(rows, reasons, simple)}{END}{tail}"
    problems = ledger.unaccounted(folder, rows, reasons)
    for problem in problems:
        print(f"{problem}; allowed: a row, or a reason in {folder / 'not_run.json'}", file=sys.stderr)
    if readme.exists() and after == before:
        print(f"{readme} is up to date")
        return 1 if check and problems else 0
    if check:
        print(f"{readme} is out of date: run python -m experiments.results", file=sys.stderr)
        return 1
    readme.write_text(after, encoding="utf-8")
    print(f"wrote {readme}")
    return 0


def render(
    rows: Sequence[dict[str, Any]], reasons: Mapping[str, str] = {}, simple: Mapping[str, Mapping[str, Any]] = {}
) -> str:
    """Render the rows as Markdown: for each topic a table by dataset, then the studies, the commands folded away.

    reasons: why files have no row, by topic.stem. simple: the best simple method of rows, by their id.
    """
    topics: dict[str, list[dict[str, Any]]] = {}
    studies = []
    for row in sorted(rows, key=lambda row: (ledger.page(row["command"]), row["dataset"], row["id"])):
        if "claim" in row:
            studies.append(row)
        else:
            topics.setdefault(ledger.page(row["command"]).split(".")[0].replace("_", " "), []).append(row)
    sections = [_section(topic, rows, simple) for topic, rows in topics.items()]
    sections += [_studies(studies, simple)] * bool(studies)
    sections += [_not_run(reasons)] * bool(reasons)
    return "".join(sections) or "\nNothing has been measured yet.\n\n"


def _not_run(reasons: Mapping[str, str]) -> str:
    lines = ["", "### Not run", "", _table_row(("File", "Why it has no row")), "| --- | --- |"]
    for name, reason in sorted(reasons.items()):
        lines.append(_table_row((f"[{name}]({name.replace('.', '/')}.py)", escape(reason, quote=False))))
    return "\n".join([*lines, "", ""])


def _studies(rows: list[dict[str, Any]], simple: Mapping[str, Mapping[str, Any]]) -> str:
    heads = ["Study", "Claim or question", "Outcome", "Headline", "Value", "Baseline", "Time", "Hardware", "Commit"]
    has_simple = any(row["id"] in simple for row in rows)
    heads[5:5] = ["Simple method"] * has_simple
    lines = ["", "### Studies", "", _table_row(heads), "|" + " --- |" * len(heads)]
    for row in rows:
        lines.append(
            _table_row(
                (
                    f"[{row['id']}]({ledger.page(row['command']).replace('.', '/')}.py)",
                    row["claim"],
                    _outcome(row),
                    f"{row['metric']}, {row['dataset']}",
                    _value(row) + (f", {BELOW}" if ledger.beats_baseline(row) is False else ""),
                    *[_simple_text(row, simple)] * has_simple,
                    _baseline_text(row),
                    _duration(row["wall_seconds"]["all"]),
                    row["hardware"],
                    _short(row["commit"]),
                )
            )
        )
    lines += ["", "<details><summary>Verdicts and commands</summary>", ""]
    for row in rows:
        note_text = f" ({row['note']})" if row["note"] else ""
        lines.append(f"- {row['id']}: {escape(row['verdict'], quote=False)}{note_text} `{row['command']}`")
    return "\n".join([*lines, "", "</details>", "", ""])


def _section(topic: str, rows: list[dict[str, Any]], simple: Mapping[str, Mapping[str, Any]]) -> str:
    heads = ["Dataset", "Result", "Metric", "Value", "Baseline", "Published", "Time a run", "Hardware", "Commit"]
    has_simple = any(row["id"] in simple for row in rows)
    heads[4:4] = ["Simple method"] * has_simple
    name = topic.upper() if len(topic) < 3 else topic.capitalize().replace("_", " ")
    lines = ["", f"### {name}", "", _table_row(heads), "|" + " --- |" * len(heads)]
    for row in rows:
        published = row["published"]
        name = f"[{row['id']}]({ledger.page(row['command']).replace('.', '/')}.py)" + (
            f"<br>{row['note']}" if row["note"] else ""
        )
        lines.append(
            _table_row(
                (
                    row["dataset"],
                    name,
                    row["metric"],
                    _value(row) + (f", {BELOW}" if ledger.beats_baseline(row) is False else ""),
                    *[_simple_text(row, simple)] * has_simple,
                    _baseline_text(row),
                    f"{_number(published['value'], row['metric'])} ({published['source']})" if published else "",
                    _duration(statistics.fmean(row["wall_seconds"].values())) if row["wall_seconds"] else "",
                    row["hardware"] or "",
                    ", ".join(_short(c) for c in (row["commit"] or "").split(", ") if c),
                )
            )
        )
    lines += ["", "<details><summary>Commands</summary>", ""]
    lines += [f"- {row['id']}: `{row['command']}`" for row in rows]
    return "\n".join([*lines, "", "</details>", "", ""])


def _table_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _value(row: dict[str, Any]) -> str:
    """The mean, the standard deviation over seeds, and the number of seeds."""
    if row["status"] == ledger.RECIPE:
        return ledger.RECIPE
    values = list(row["values"].values())
    if len(values) == 1:
        seed = next(iter(row["values"]))
        return _number(row["mean"], row["metric"]) + (f" (seed {seed})" if seed != "all" else "")
    spread = statistics.stdev(values)
    spread_text = f"{100 * spread:.2f}" if in_per_cent(row["metric"]) else f"{spread:.2g}"
    return f"{_number(row['mean'], row['metric'])} ± {spread_text} ({len(values)} seeds)"


def _simple_text(row: dict[str, Any], simple: Mapping[str, Mapping[str, Any]]) -> str:
    """The value of the best simple method, bold where the row does not beat it."""
    if (best := simple.get(row["id"])) is None:
        return ""
    text = f"{_number(best['mean'], row['metric'])} ({escape(best['method'], quote=False)})"
    if best["knows"]:
        text += f", which knows {escape(best['knows'], quote=False)}"
    return f"**{text}**" if ledger.beats_simple(row, best) is False else text


def _baseline_text(row: dict[str, Any]) -> str:
    baseline = row["baseline"]
    return f"{_number(baseline['value'], row['metric'])} ({escape(baseline['name'], quote=False)})" if baseline else ""


def _number(value: float, metric: str) -> str:
    return f"{100 * value:.2f} %" if in_per_cent(metric) else f"{value:.4g}"


def _short(commit: str) -> str:
    return re.sub(r"^([0-9a-f]{7})[0-9a-f]+", r"\1", commit)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


if __name__ == "__main__":
    raise SystemExit(main())
