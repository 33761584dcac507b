"""`dlcore experiments WORD`: everything that a word is about, most relevant first.

Searched are the pages of a package, networks of all kinds, published architectures, losses, metrics, optimizers,
flags, the other files of dlcore, and the chapters and guides of docs/. A hit in a name counts more than one in a title
(the first line of a docstring), and that more than one in the text; whole words count more than words that begin so;
benches and studies come last.
"""

import collections
import difflib
import functools
import itertools
import math
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from dlcore.experiment.catalog import experiment_names, first_line, flag_error, read_measured_numbers, topics
from dlcore.models.stored_counts import all_stored_models, natural_order

__all__ = ["Item", "find", "found_text", "nearest"]

SYNONYMS = {
    "colmap": "structure from motion",
    "gradcam": "grad cam",
    "ocr": "text reading",
    "openvocabulary": "owl vit",
    "sdf": "signed distance",
    "slam": "structure from motion",
    "testtimeaugmentation": "image at test time",
    "tta": "image at test time",
    "uncertainty": "confidence",
}
"""Words of the field, without spaces, and dlcore's own for the same."""
NEAR = {
    "attribution": "lime shap",
    "behavior cloning": "decisiontransformer",
    "calibration confidence": "conformal bayesian",
    "caption image": "blip llava",
    "classifiers": "xgboost randomforest",
    "compression distillation": "pruning lotteryticket",
    "deep q networks dqn": "rainbow",
    "dropout": "mcdropout",
    "embedding t sne": "umap",
    "energy based": "hopfield",
    "few shot": "maml",
    "language model": "mamba s4 ssm rwkv retnet xlstm",
    "metric learning": "arcface",
    "mixture": "moe",
    "model based planning": "dreamer alphazero muzero",
    "nerf radiance field": "gaussiansplatting",
    "objects of words owl vit": "groundingdino",
    "optimizer": "muon sharpnessaware",
    "outlier density": "anomalydetection patchcore",
    "policy optimization": "grpo dpo rlhf",
    "processes data parallel": "federated",
    "regression density": "gaussianprocess",
    "regularizers early stopping": "grokking",
    "activations architecture": "kan capsule",
    "super resolution": "esrgan",
    "word vectors": "word2vec",
}
"""dlcore's words for what is nearest to famous words that it may not have; `find` does not use them."""
LAST = ("bench", "studies")
GROUPED = ("network", "published")


class Item(NamedTuple):
    """Something that can be found.

    Args:
      kind: page, network, published, loss, metric, optimizer, flag, part (a file of dlcore), or guide (of docs/).
      name: what it is called.
      title: what it is, a line.
      text: the rest of its description, as `words_of`.
    """

    kind: str
    name: str
    title: str
    text: str = ""

    @property
    def stem(self) -> str:
        """The name without its folder or topic."""
        return re.split(r"[./]", self.name.removesuffix(".py").removesuffix(".md"))[-1]


@functools.cache
def words_of(text: str) -> str:
    """Normalize a text for the search: lower case, one space for all between letters and digits."""
    return " " + re.sub(r"[\W_]+", " ", text).lower() + " "


@functools.cache
def _docstrings(path: Path) -> str:
    """Read all docstrings of a file as `words_of`, without parsing it, which takes ten times as long."""
    return words_of(" ".join(re.findall(r'"""(.*?)"""', path.read_text(encoding="utf-8"), re.DOTALL)))


@functools.cache
def _imported_text(path: Path) -> str:
    """The docstrings of the files of dlcore's topics, models, losses and the like that an experiment imports itself."""
    package, paths = Path(__file__).resolve().parents[1], []
    imports = r"^from dlcore\.([\w.]+) import \(?([\w, \n]+)"
    for module, names in re.findall(imports, path.read_text(encoding="utf-8"), re.MULTILINE):
        if module.split(".")[0] not in ("experiment", "main", "learner", "run", "setting", "weights"):
            folder = package / module.replace(".", "/")
            paths += [folder.with_suffix(".py"), *(folder / f"{name}.py" for name in re.findall(r"\w+", names))]
    return "".join(_docstrings(path) for path in paths if path.exists())


@functools.cache
def _items(package_of_pages: str) -> tuple[Item, ...]:
    package = Path(__file__).resolve().parents[1]
    items, techniques = [], set()
    for entry in experiment_names(package_of_pages):
        technique = package / entry.path.parent.name / entry.path.name
        techniques.add(technique)
        text = "".join(_docstrings(path) for path in (entry.path, technique) if path.exists())
        items.append(Item("page", entry.name, first_line(entry), text))
    items += [Item("network", name, kind) for kind, rows in all_stored_models().items() for name in rows]
    for folder, kind in (("losses", "loss"), ("metrics", "metric"), ("optim", "optimizer")):
        for path in sorted((package / folder).glob("[!_]*.py")):
            parts = re.findall(r'^(?:def|class) ([A-Za-z]\w*)\b[^"]*?"""([^\n"]+)', path.read_text(), re.MULTILINE)
            items += [Item(kind, f"{folder}.{name}", title) for name, title in parts]
    names = re.findall(r'^    "(\w+)": lambda rate', (package / "optim/builder.py").read_text(), re.MULTILINE)
    items += [Item("optimizer", name, f"--optimizer={name}") for name in names]
    flags: dict[str, str] = {}
    for path in sorted(package.rglob("*.py")):
        settings = r'(?:"([a-z][\w.]*)": |^([A-Z_]+) = )Setting\((?:"\w*", |[^"]*?\s)"([^"\n]+)"'
        for name, constant, title in re.findall(settings, path.read_text(), re.MULTILINE):
            flags.setdefault(name or constant.lower(), title)
    items += [Item("flag", f"--{name}", title) for name, title in flags.items()]
    for path, title in re.findall(r"^- \[[\w.]+\]\((\S+)\): (.*)", (package / "README.md").read_text(), re.MULTILINE):
        if package / path not in techniques:
            items.append(Item("part", f"dlcore/{path}", title))
    for path in sorted((package.parent / "docs").glob("**/[!_]*.md")):
        if path.parts[-2] in ("docs", "book") and path.stem not in ("index", "techniques", "paradigms", "glossary"):
            text = path.read_text(encoding="utf-8")
            title = text.partition("\n")[0].removeprefix("# ")
            items.append(Item("guide", str(path.relative_to(package.parent)), title, words_of(text)))
    return tuple(items)


@functools.cache
def _published() -> tuple[Item, ...]:
    from dlcore.pretrained.family import all_families

    rows = {(family.library, name) for family in all_families() for name in family.architectures}
    return tuple(Item("published", name, library) for library, name in sorted(rows))


def _spelled(text: str) -> str:
    """Pattern of words with or without spaces: of long ones also within them, so that deepsdf is Deep SDF."""
    parts = words_of(text).split()
    return " ?".join("".join(parts) if len("".join(parts)) >= 5 else parts)


def _patterns(words: str) -> tuple[re.Pattern, re.Pattern]:
    """Patterns of the whole word, and of one that begins so: any that goes on behind five letters, else by a number."""
    spelled = [_spelled(text) for text in _meanings(words)]
    whole = "|".join(f"{text}s?" for text in spelled)
    start = "|".join(text + (r"\w+" if len(text.replace(" ?", "")) >= 5 else r"v?\d\w*") for text in spelled)
    return re.compile(f" (?:{whole}) "), re.compile(f" (?:{start}) ")


@functools.cache
def _letters(item: Item) -> str:
    """All words of an item without spaces: a quick look for what patterns find slowly."""
    return words_of(f"{item.name} {item.title} {item.text}").replace(" ", "")


def _meanings(words: str) -> list[str]:
    other = SYNONYMS.get("".join(words_of(words).split()))
    return [words, other] if other else [words]


def _rank(item: Item, words: str, whole: re.Pattern, start: re.Pattern) -> int | None:
    """0 for the name itself, then names, titles and texts; None where none has the word."""
    name, title, later = words_of(item.stem), words_of(item.title), 2 * (item.kind in ("part", "guide"))
    if name.strip() in {words_of(text).strip() for text in (words, words.replace(" ", ""))}:
        return later
    tries = (whole.match, name), (whole.search, words_of(item.name)), (whole.search, title), (start.search, name)
    tries += (start.search, title), (whole.search, item.text), (start.search, item.text)
    return next((later + rank for rank, (search, text) in enumerate(tries, 1) if search(text)), None)


def find(words: str, package: str) -> list[Item]:
    """Find what a word is about.

    Args:
      words: a word, or several that follow each other; case, hyphens and line breaks do not matter.
      package: name of the package of the pages, such as experiments.

    Returns:
      The items, most relevant first; where no page has the word, also the pages that import a file of dlcore that has.

    Raises:
      FlagError: there is no checkout.
    """
    whole, start = _patterns(words)
    letters = ["".join(words_of(text).split()) for text in _meanings(words)]
    items = [*_items(package), *_published()]
    close = [item for item in items if any(text in _letters(item) for text in letters)]
    ranks = {item: rank for item in close if (rank := _rank(item, words, whole, start)) is not None}
    if not any(item.kind == "page" for item in ranks):
        paths = {entry.name: entry.path for entry in experiment_names(package)}
        ranks |= {i: 9 for i in items if i.kind == "page" and whole.search(_imported_text(paths[i.name]))}
    kinds = list(dict.fromkeys(item.kind for item in items))

    def order(item: Item) -> tuple:
        last = item.kind == "page" and item.name.split(".")[0] in LAST
        mentions = len(whole.findall(item.text))
        return last, ranks[item], kinds.index(item.kind), -mentions, natural_order(item.name)

    return sorted(ranks, key=order)


def nearest(words: str, package: str, count: int = 3) -> list[Item]:
    """Find what is nearest to words that nothing has: names of a similar spelling, then items with single words of it.

    Args:
      words: words that `find` did not find.
      package: name of the package of the pages, such as experiments.
      count: number of items.

    Returns:
      The items; rare words count more than frequent ones.
    """
    items = [item for item in _items(package) if item.kind not in ("flag", "guide")]
    joined = "".join(words_of(words).split())
    stems = {item.stem.replace("_", ""): item for item in reversed(items)}
    similar = {stems[stem] for stem in difflib.get_close_matches(joined, stems, count, 0.8)}
    other = next((ours for ours, names in NEAR.items() if joined in names.split()), words)
    parts = {re.sub(r"(?<=[a-z])v?\d+$", "", part) for part in words_of(other).split()}
    counts = {item: collections.Counter(words_of(f"{item.stem} {item.name} {item.title}").split()) for item in items}
    number = collections.Counter(itertools.chain.from_iterable(counts.values()))

    def score(item: Item) -> float:
        """Sum over the words, of which rare ones count more; names and pages count more too."""
        shared = [part for part in parts if len(part) > 2 and counts[item][part]]
        value = sum(math.log(len(items) / number[part]) * min(counts[item][part], 2) for part in shared)
        value += 6 * (item in similar)
        return value and value + 3 * (item.kind == "page") - 6 * (item.name.split(".")[0] in LAST)

    scores = {item: score(item) for item in items}
    best = sorted((item for item in items if scores[item] > max(2, max(scores.values()) / 3)), key=lambda i: -scores[i])
    pages = [item for item in best if item.kind == "page"][: count - 1]
    return (pages + [item for item in best if item.kind != "page"])[:count]


def found_text(words: str, package: str, columns: int = 80, most: int | None = 16) -> str:
    """List what a word is about.

    Args:
      words: see `find`.
      package: name of the package of the pages, such as experiments.
      columns: largest length of a line in characters.
      most: number of items; None for all.

    Raises:
      FlagError: nothing has the word; the message names what is nearest.
    """
    numbers, groups = read_measured_numbers(package), {}
    for item in find(words, package):
        key = (item.kind, item.title) if item.kind in GROUPED else (item.kind, item.name)
        groups.setdefault(key, []).append(item)
    if not groups:
        near = difflib.get_close_matches(words, topics(package), 1, 0.8)
        near += [item.name if item.kind == "page" else f"{item.kind} {item.name}" for item in nearest(words, package)]
        raise flag_error(f"{words}: not in dlcore; nearest: {', '.join(near) or 'the topics of `dlcore experiments`'}")
    lines = []
    for (kind, name), items in itertools.islice(groups.items(), most):
        if kind in GROUPED:
            names = [item.name for item in items]
            text = f"{kind} ({name}): {', '.join(names[:8])}" + (f" and {len(names) - 8} more" if names[8:] else "")
        else:
            number = f" [{numbers[name]}]" if name in numbers else ""
            text = f"{'' if kind == 'page' else kind + ' '}{name}: {items[0].title}{number}"
        lines += textwrap.wrap(text, columns, subsequent_indent=" " * 4, break_on_hyphens=False, break_long_words=False)
    if most is not None and len(groups) > most:
        lines.append(f"and {len(groups) - most} more: dlcore experiments {words} --all")
    return "\n".join(lines)
