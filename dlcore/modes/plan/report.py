"""Tables of `--mode=plan`, as text and as HTML: one row for each mesh and rule, the best marked."""

import math
from typing import Any

from dlcore.cost.collectives import KINDS
from dlcore.cost.memory import readable
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.modes.plan.topology import Topology, seconds
from dlcore.report.html import render
from dlcore.report.tables import table
from dlcore.run.sharding import DATA, MODEL

__all__ = ["best_of", "hints", "lines_of", "notes", "report_of", "row_of", "row_summary"]

FITS, NOT, UNKNOWN = "fits", "does not fit", "unknown"


def row_of(topology: Topology, facts: dict, measures: dict, batch_size: int) -> dict[str, Any]:
    """Combine the measurements of one mesh and rule into a row, per device.

    Matrix products are split over all axes of the mesh, over `model` only under a tensor rule.

    Args:
      topology: the machine's topology.
      facts: result of `dlcore.modes.plan.worker.step_facts`.
      measures: result of `dlcore.modes.plan.worker.measure`.
      batch_size: global batch size, split over the axis `data` if that divides it.

    Returns:
      Sizes in bytes, FLOPs, bytes sent, verdict, and seconds.
    """
    axes = {name.strip(): int(size) for name, size in (part.split(":") for part in measures["mesh"].split(","))}
    data = axes.pop(DATA, 1)
    data = data if batch_size % data == 0 else 1
    num_parts = data * math.prod(size for name, size in axes.items() if name != MODEL or "tensor" in measures["rule"])
    row = {
        "mesh": measures["mesh"],
        "rule": measures["rule"],
        **measures["bytes"],
        "flops": facts["flops"] / num_parts,
        "activations": None if facts["activations"] is None else facts["activations"] / data,
        "compile_seconds": measures["compile_seconds"],
    }
    if "temporaries" not in measures:
        shortage = {"needs": measures.get("needs"), "has": measures.get("has"), "failed": measures.get("failed")}
        return {**row, **shortage, "verdict": UNKNOWN if measures.get("failed") else NOT}
    bytes_sent_by_kind = {kind: bytes_sent for kind, (_, _, bytes_sent) in measures["collectives"].items()}
    total = measures["arguments"] + measures["results"] - measures["shared"] + measures["temporaries"]
    exact = sum(measures["bytes"].values())
    row |= {
        "temporaries": measures["temporaries"],
        "total": total,
        "peak": measures["peak"],
        "sent": bytes_sent_by_kind,
        "loops": sum(c["times"] * c["bytes"] for c in measures["loops"]),
        "seconds": seconds(
            topology, row["flops"], measures["arguments"] + measures["results"], sum(bytes_sent_by_kind.values())
        ),
    }
    if topology.limit is None:
        verdict = ""
    elif topology.platform == "tpu" or total <= topology.limit:
        verdict = FITS
    else:
        verdict = NOT if exact > topology.limit else UNKNOWN
    return {**row, "verdict": verdict}


def best_of(rows: list[dict]) -> dict | None:
    """Choose the fastest row that fits; of equals, the smaller one.

    Args:
      rows: rows that `row_of` returned.

    Returns:
      A row; None if none is known to fit.
    """
    fitting = [row for row in rows if row["verdict"] == FITS]
    return min(fitting, key=lambda row: (row["seconds"], row["total"])) if fitting else None


def _memory(plan: dict, row: dict) -> dict[str, str]:
    """Format a row of the memory table, as text by column."""
    upper = "<= " if plan["topology"]["platform"] == "gpu" else ""
    cells = {"mesh": row["mesh"], "rule": row["rule"]}
    for name, key in SIZES.items():
        cells[name] = "" if row.get(key) is None else readable(row[key])
    if row.get("temporaries") is not None:
        cells["temporaries"], cells["total"] = upper + cells["temporaries"], upper + cells["total"]
    return {**cells, "verdict": _verdict(row)}


def _step(plan: dict, row: dict, best: dict | None) -> dict[str, str]:
    """Format a row of the table of FLOPs and communication, as text by column."""
    unit, size = _unit(max(any_row["flops"] for any_row in plan["rows"]))
    cells = {"mesh": row["mesh"], "rule": row["rule"], unit: f"{row['flops'] / size:.4g}"}
    for kind in KINDS:
        if any(kind in any_row.get("sent", {}) for any_row in plan["rows"]):
            cells[kind] = readable(row["sent"].get(kind, 0)) if "sent" in row else ""
    cells["at least"] = "" if row.get("seconds") is None else f"{1000 * row['seconds']:.3g} ms"
    return {**cells, "": "best" if row is best else ""}


def _unit(flops: float) -> tuple[str, float]:
    return ("TFLOP", 1e12) if flops >= 1e11 else ("GFLOP", 1e9)


def _flops(flops: float) -> str:
    unit, size = _unit(flops)
    return f"{flops / size:.4g} {unit}"


SIZES = {
    "parameters": "parameters",
    "optimizer": "optimizer",
    "other": "other state",
    "batch": "batch",
    "activations": "activations",
    "temporaries": "temporaries",
    "total": "total",
}


def _verdict(row: dict) -> str:
    if row.get("needs"):
        return f"does not fit: needs {row['needs'] / 2**30:.4g} of {row['has'] / 2**30:.4g} GiB"
    return f"failed: {row['failed']}" if row.get("failed") else row["verdict"]


def row_summary(row: dict) -> str:
    """Summarize one mesh and rule in a line.

    Args:
      row: a row that `row_of` returned.

    Returns:
      Mesh, rule, memory and verdict.
    """
    size = "" if row.get("total") is None else f"{readable(row['total'])}, "
    return f"{row['mesh']} {row['rule']}: {size}{_verdict(row)}".rstrip(", ")


def _sorted(rows: list[dict]) -> list[dict]:
    order = [FITS, "", UNKNOWN, NOT]
    return sorted(rows, key=lambda row: (order.index(row["verdict"]), row.get("seconds") or 0, row.get("total") or 0))


def hints(plan: dict, flags: Flags) -> list[str]:
    """Name the flags that reduce the memory of a step.

    Args:
      plan: "topology" and "rows".

    Returns:
      A sentence in a list; an empty list if everything fits.
    """
    if all(row["verdict"] in (FITS, "") for row in plan["rows"]):
        return []
    advice = []
    if flags.get("model.remat") == "none":
        advice.append("--model.remat=full (recompute in the backward pass)")
    if flags.precision == "f32":
        advice.append("--precision=bf16")
    advice.append("a smaller --batch_size" + (" with --accumulate" if "accumulate" in flags else ""))
    if not any("fsdp" in row["rule"] for row in plan["rows"]):
        advice.append("--rules=fsdp")
    return [f"To reduce memory: {', '.join(advice)}."]


def notes(plan: dict, flags: Flags) -> list[str]:
    """Explain the numbers and their limits.

    Args:
      plan: "topology", "rows" and the facts of the step.
    """
    platform, remarks = plan["topology"]["platform"], []
    if plan["activations"] is not None:
        remarks.append("activations: what the loss stores for its backward pass, before XLA's fusion")
    if platform == "gpu":
        remarks.append("temporaries: an upper estimate, XLA's plan for a CPU")
    if platform == "cpu":
        remarks.append("simulated devices: no limit, no speed")
    if plan["loops"]:
        remarks.append(f"FLOPs: of {plan['loops']} while loops, whose length is unknown, one iteration counts")
    if any(row.get("loops", 0) > 0.01 * sum(row.get("sent", {}).values()) for row in plan["rows"]):
        remarks.append("collectives: in loops of unknown length one iteration counts")
    if platform != "cpu":
        slow = "; float32 takes longer" if flags.precision == "f32" else ""
        remarks.append(f"at least: products at the bfloat16 peak, nothing overlapped{slow}")
    return remarks


def lines_of(plan: dict, flags: Flags) -> list[str]:
    """Format the two tables of a plan for a terminal.

    Args:
      plan: "topology", "rows" and the facts of the step.
    """
    rows = _sorted(plan["rows"])
    best = best_of(rows)
    return [
        "",
        _headline(plan, flags),
        MEMORY,
        *_aligned([_memory(plan, row) for row in rows]),
        STEP,
        *_aligned([_step(plan, row, best) for row in rows]),
        *(f"  {message}" for message in notes(plan, flags)),
        *hints(plan, flags),
        *_conclusion(plan["topology"], rows, best),
    ]


MEMORY, STEP = "Memory per device", "A step per device: FLOPs, bytes sent, and a lower bound of the time"


def _aligned(cells: list[dict[str, str]]) -> list[str]:
    """Align cells under their names: words to the left, numbers to the right."""
    lines = [{name: name if name != "verdict" else "" for name in cells[0]}, *cells]
    width = {name: max(len(line[name]) for line in lines) for name in cells[0]}
    left = ("mesh", "rule", "verdict", "")
    return [
        ("  " + "  ".join(line[n].ljust(width[n]) if n in left else line[n].rjust(width[n]) for n in width)).rstrip()
        for line in lines
    ]


def _headline(plan: dict, flags: Flags) -> str:
    topology = plan["topology"]
    limit = "" if topology["limit"] is None else f" of {topology['limit'] / 2**30:.4g} GiB"
    return (
        f"{topology['name']}: {topology['devices']} devices{limit}; {plan['parameters']:,} parameters, batch "
        f"{flags.batch_size}, {flags.precision}, {_flops(plan['flops'])} a step over all devices"
    )


def _conclusion(topology: dict, rows: list[dict], best: dict | None) -> list[str]:
    if topology["limit"] is None:
        return []
    if best is not None:
        return [f"best of those that fit: --mesh={best['mesh']} --sharding={best['rule']}"]
    return ["nothing is known to fit" if any(row["verdict"] == UNKNOWN for row in rows) else "nothing fits"]


def _unbroken(cells: dict[str, str]) -> dict[str, str]:
    """Keep numbers on one line with their units."""
    return {n: text if n == "verdict" else text.replace(" ", "\N{NO-BREAK SPACE}") for n, text in cells.items()}


def report_of(run: ResolvedRun, content: dict) -> str:
    """Render plan.html.

    Args:
      content: content of plan.json.
    """
    panels = []
    for plan in content["plans"]:
        rows = _sorted(plan["rows"])
        best = best_of(rows)
        caption = ". ".join(
            [*notes(plan, run.flags), *hints(plan, run.flags), *_conclusion(plan["topology"], rows, best)]
        )
        machine, head = plan["topology"]["name"], _headline(plan, run.flags)
        panels.append(table([_unbroken(_memory(plan, row)) for row in rows], f"{machine}: memory of a device", head))
        step = [_unbroken(_step(plan, row, best)) for row in rows]
        panels.append(table(step, f"{machine}: a step of a device", caption))
    first = content["plans"][0]
    cards = {"parameters": f"{first['parameters']:,}", "a step": _flops(first["flops"])}
    for plan in content["plans"]:
        best = best_of(plan["rows"])
        cards[f"best on {plan['topology']['name']}"] = f"{best['mesh']} {best['rule']}" if best else "–"
    details = {
        "Settings": {"command": content["command"], **{f"--{k}": v for k, v in sorted(run.identity.items())}},
        "Environment": {"commit": content["commit"], **content["versions"]},
    }
    subtitle = f"{run.experiment.doc.strip().splitlines()[0]}  Planned, not run."
    return render(f"{run.experiment.name}: plan", panels, cards, subtitle=subtitle, details=details)
