"""The chapters of the book and what each lists: a technique by its module, an experiment or a study by its file.

A chapter ends in the sections "Techniques" and "Experiments and studies", whose lines are `- [Title](../../FILE.py)`.
Each line gets a page of its own; the titles stand here alone. An experiment that no chapter lists is added to the
chapter with most pages of its topic, so that a technique stays four files.
"""

import re
from typing import NamedTuple

from site_extension.repository import DOCS, ROOT, docstrings, read
from site_extension.text import has_equation, has_reference

__all__ = ["SECTIONS", "Chapter", "Entry", "PageError", "paragraphs_about", "read_chapters"]

SECTIONS = ("Techniques", "Experiments and studies")
ITEM = re.compile(r"^- \[([^\]]+)\]\(\.\./\.\./((?:dlcore|experiments)/\S+\.py)\)$", re.MULTILINE)


class PageError(ValueError):
    """A page cannot be made; the message names the page and what it lacks."""


class Entry(NamedTuple):
    """A line of a chapter's lists.

    Args:
      title: name of the technique.
      path: file in the repository.
      chapter: name of the chapter's file, without ".md".
    """

    title: str
    path: str
    chapter: str

    @property
    def name(self) -> str:
        """`topic.name`, from the path."""
        return ".".join(self.path.removesuffix(".py").split("/")[1:])

    @property
    def label(self) -> str:
        """The target of links to the page."""
        return "page-" + re.sub(r"[._]", "-", self.name) + ("" if self.path.startswith("dlcore/") else "-experiment")

    @property
    def docname(self) -> str:
        """The page in `docs/generated`."""
        kind = "techniques" if self.path.startswith("dlcore/") else "experiments"
        return f"{kind}/{self.name}"


class Chapter(NamedTuple):
    """A chapter.

    Args:
      name: of its file, without ".md".
      title: its heading.
      text: all of it.
      entries: what its sections list, in order.
    """

    name: str
    title: str
    text: str
    entries: tuple[Entry, ...]

    @property
    def prose(self) -> str:
        """The text before the lists."""
        return re.split(rf"^## (?:{'|'.join(SECTIONS)})$", self.text, maxsplit=1, flags=re.MULTILINE)[0]


def read_chapters(folder=DOCS / "book") -> list[Chapter]:
    """Read the chapters in reading order.

    Args:
      folder: their folder.

    Returns:
      The chapters, with the experiments that none lists.

    Raises:
      PageError: a chapter has no heading, a line of a list has another form, an underscore in its title or no file, or
        a file is listed twice.
    """
    chapters, seen = [], {}
    for path in sorted(folder.glob("[0-9][0-9]_*.md")):
        text = path.read_text(encoding="utf-8")
        heading = re.match(r"# (.+)\n", text)
        if not heading:
            raise PageError(f"{path.name}: the first line must be '# ' and the chapter's title")
        lists = re.split(rf"^## (?:{'|'.join(SECTIONS)})$", text, flags=re.MULTILINE)[1:]
        entries = []
        for line in "\n".join(lists).splitlines():
            if line.startswith("- ") and not ITEM.match(line):
                raise PageError(f"{path.name}: {line!r}: a list of pages has lines '- [Title](../../FILE.py)' alone")
            if found := ITEM.match(line):
                title, file = found.groups()
                if "_" in title:
                    raise PageError(f"{path.name}: title {title!r}: an underscore; allowed: a name in words")
                if not (ROOT / file).exists():
                    raise PageError(f"{path.name}: {file} does not exist")
                if file in seen:
                    raise PageError(f"{path.name}: {file} is listed in {seen[file]} already")
                seen[file] = path.name
                entries.append(Entry(title, file, path.stem))
        chapters.append(Chapter(path.stem, heading[1], text, tuple(entries)))
    return [_with_unlisted(chapter, chapters) for chapter in chapters]


def _with_unlisted(chapter: Chapter, chapters: list[Chapter]) -> Chapter:
    """Add the experiments that no chapter lists, in the chapter with most pages of their topic."""
    listed = [entry.path.split("/", 1)[1] for other in chapters for entry in other.entries]
    added = []
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        name, topic = file.split("/", 1)[1], file.split("/")[1]
        if name in listed or not re.search(r"^experiment = ", read(file), re.MULTILINE):
            continue
        counts = [sum(f"/{topic}/" in entry.path for entry in other.entries) for other in chapters]
        if max(counts) and chapters[counts.index(max(counts))] is chapter:
            module = f"dlcore/{name}"
            known = (ROOT / module).exists() and has_equation(docstrings(module)) and has_reference(docstrings(module))
            words = path.stem.replace("_", " ")
            added.append(Entry(words[0].upper() + words[1:], module if known else file, chapter.name))
    return chapter._replace(entries=(*chapter.entries, *added))


def paragraphs_about(chapter: Chapter, paths: set[str]) -> list[str]:
    """Find what a chapter's prose says of a technique.

    Args:
      chapter: the chapter.
      paths: files of the technique: its module and its experiment.

    Returns:
      The paragraphs that link to one of the files, as Markdown of the chapter.
    """
    paragraphs = re.split(r"\n[ \t]*\n", chapter.prose)
    found = []
    for number, text in enumerate(paragraphs):
        if any(f"](../../{path})" in text for path in paths):
            found.append(text)
            # A paragraph that leads to an equation, and the rest of its sentence.
            for later in paragraphs[number + 1 :]:
                if not later.startswith("$$") and not (found[-1].startswith("$$") and later[:1].islower()):
                    break
                found.append(later)
    return list(dict.fromkeys(found))
