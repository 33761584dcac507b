"""A page for each topic: the pictures of its techniques, and all of its techniques and experiments with a sentence."""

from site_extension.book import Entry, PageError
from site_extension.gallery import gallery_grid
from site_extension.repository import docstring
from site_extension.techniques import written
from site_extension.text import escape, lead

__all__ = ["TOPICS", "links", "pages"]

TOPICS = {
    "classification": ("Classification", ["classification"]),
    "architectures": ("Architectures", ["models"]),
    "detection": ("Detection", ["detection"]),
    "segmentation": ("Segmentation", ["segmentation"]),
    "three_dimensions": ("Three dimensions", ["vision3d"]),
    "video": ("Video", ["video"]),
    "generative": ("Generative models", ["generative", "pretrained"]),
    "self_supervised": ("Self-supervised learning", ["self_supervised"]),
    "semi_supervised": ("Semi-supervised learning", ["semi_supervised"]),
    "transfer": ("Transfer learning", ["transfer"]),
    "reinforcement": ("Reinforcement learning", ["rl"]),
    "sequences": ("Sequences and language", ["sequence", "vision_language"]),
    "interpretability": ("Interpretability", ["interpretability"]),
    "adversarial": ("Adversarial examples", ["adversarial"]),
    "classic": ("Classic machine learning", ["classic_ml"]),
    "classical_vision": ("Classical vision", ["classical_vision"]),
    "parts": ("Layers, losses and optimizers", ["nn", "ops", "losses", "metrics", "evaluators", "optim"]),
    "training": ("Understanding training", ["backprop", "diagnostics", "cost", "data"]),
    "speed": ("Speed and recipes", ["bench", "recipes"]),
    "experiments": ("Studies in pictures", ["studies"]),
}
"""Page -> its title, and the folders of dlcore and experiments whose techniques it shows."""


def pages(chapters, targets) -> dict[str, str]:
    """Make the pages of the topics.

    Args:
      chapters: of the book.
      targets: what shows each file.

    Returns:
      Page -> Markdown.

    Raises:
      PageError: a folder has no topic.
    """
    folders: dict[str, list[Entry]] = {}
    for chapter in chapters:
        for entry in chapter.entries:
            folders.setdefault(entry.name.split(".")[0], []).append(entry)
    missing = set(folders).difference(*(names for _, names in TOPICS.values()))
    if missing:
        raise PageError(f"topics.py: TOPICS has no topic for {', '.join(sorted(missing))}")
    return {
        f"topics/{page}.md": _topic(title, [entry for name in names for entry in folders.get(name, [])])
        for page, (title, names) in TOPICS.items()
    }


def _topic(title: str, entries: list[Entry]) -> str:
    parts = [f"# {title}", gallery_grid(entries)]
    for heading, folder in (("Techniques", "dlcore/"), ("Experiments", "experiments/")):
        lines = [_line(entry) for entry in entries if entry.path.startswith(folder)]
        parts += [f"## {heading}", "\n".join(lines)] if lines else []
    return "\n\n".join(filter(None, parts)) + "\n"


def _line(entry: Entry) -> str:
    known = written(entry)
    name, sentence = known[:2] if known else (entry.title, docstring(entry.path))
    return f"- [{escape(name)}](#{entry.label}): {escape(lead(sentence))}"


def links() -> str:
    """Link the pages.

    Returns:
      Markdown: their titles in one line.
    """
    return ", ".join(f"[{title}](/generated/topics/{page}.md)" for page, (title, _) in TOPICS.items())
