"""The text of `--help`: essential flags; `--help=all` lists all flags by group."""

from dlcore.setting import Setting, kind_name, text_of

__all__ = ["help_text"]

TITLES = {
    "run": "the run",
    "mode": "this mode",
    "experiment": "this experiment",
    "learner": "the technique",
    "model": "the model",
    "study": "this study",
}


def help_text(groups: dict[str, dict[str, Setting]], everything: bool = False) -> str:
    """List flags with values, defaults and help.

    Args:
      groups: {group: {name: setting}}.
      everything: list all flags by group; else the essential flags and the number of others.
    """
    groups = {group: {k: s for k, s in entries.items() if not s.external} for group, entries in groups.items()}
    if everything:
        return "\n".join(_section(TITLES.get(group, group), entries) for group, entries in groups.items() if entries)
    essential, counts = {}, []
    for group, entries in groups.items():
        selected = {name: s for name, s in entries.items() if s.essential or group in ("learner", "study", "mode")}
        essential |= selected
        if rest := len(entries) - len(selected):
            counts.append(f"{rest} of {TITLES.get(group, group)}")
    more = f"\n--help=all lists the others too: {', '.join(counts)}." if counts else ""
    return _section("flags", essential) + more


def _section(title: str, entries: dict[str, Setting]) -> str:
    lines = [f"{title}:"]
    for name, setting in entries.items():
        lines.append(f"  --{name}={kind_name(name, setting)}  (default {text_of(setting.default)})")
        if setting.help:
            lines.append(f"      {setting.help}")
    return "\n".join(lines)
