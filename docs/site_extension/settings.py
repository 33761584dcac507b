"""The page of all flags: those that every experiment has, and those of each technique."""

import ast

from site_extension.api import described
from site_extension.repository import ROOT, docstring, parse
from site_extension.text import escape, lead

__all__ = ["pages"]


def pages(chapters, targets) -> dict[str, str]:
    """Make the page of the flags.

    Args:
      chapters: of the book.
      targets: what shows each file.

    Returns:
      Page -> Markdown.
    """
    from dlcore.experiment.setting import kind_name, text_of

    from dlcore.experiment.settings import FOLDER, RUN

    parts = [
        "# Flags",
        "Each experiment takes the flags of a run, those of its technique and those of its model, whose simple fields "
        "are `--model.FIELD`. `--help` lists the flags of an experiment that most people need, and `--help=all` lists "
        "all of them.",
        "## Flags of every experiment",
        "| flag | values | default | what it does |\n| --- | --- | --- | --- |",
    ]
    for name, setting in {**FOLDER, **RUN}.items():
        values, default = escape(kind_name(name, setting)), text_of(setting.default)
        parts[-1] += f"\n| `--{name}` | {values} | `{default}` | {escape(setting.help)} |"
    parts += ["## Flags of each technique", "A parameter of `learner` with a simple type is a flag of its experiment."]
    for path in sorted((ROOT / "dlcore").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        learner = next((n for n in parse(file).body if isinstance(n, ast.FunctionDef) and n.name == "learner"), None)
        if learner is None:
            continue
        flags = [
            (arg.arg, ast.unparse(arg.annotation) if arg.annotation else "", ast.unparse(default))
            for arg, default in zip(learner.args.kwonlyargs, learner.args.kw_defaults, strict=True)
            if default is not None and _simple(arg.annotation)
        ]
        if not flags:
            continue
        helps = _helps(described(learner))
        name = file.removeprefix("dlcore/").removesuffix(".py").replace("/", ".")
        parts += [f"### {name}", f"[{escape(lead(docstring(file)))}]({targets.of(file)})"]
        lines = [f"| `--{flag}` | `{value}` | {helps.get(flag, '')} |" for flag, _, value in flags]
        parts.append("\n".join(["| flag | default | what it does |", "| --- | --- | --- |", *lines]))
    return {"flags.md": "\n\n".join(parts) + "\n"}


def _simple(annotation: ast.AST | None) -> bool:
    words = {n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)} if annotation else set()
    return bool(words & {"bool", "int", "float", "str", "Literal", "tuple"}) and "Callable" not in words


def _helps(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, colon, rest = line.removeprefix("- `").partition("`: ")
        if line.startswith("- `") and colon:
            found[name] = rest.replace("|", "\\|").replace("\\\\|", "\\|")
    return found
