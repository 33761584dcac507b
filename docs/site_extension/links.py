"""Links between files of the repository as links between pages of the site."""

import os
import posixpath
import re
from pathlib import Path

from site_extension.book import Chapter, PageError
from site_extension.repository import ROOT

__all__ = ["DOCUMENTS", "Targets", "rewrite"]

DOCUMENTS = {
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "SECURITY.md": "security",
    "experiments/README.md": "results",
    "experiments/papers/README.md": "papers",
    "launch/README.md": "launching",
}
"""Documents outside `docs/`, which the site shows as copies: file -> page in `docs/generated`."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
COMMENT = re.compile(r"^( *)%", re.MULTILINE)
"""What MyST reads as a comment, and our documents never mean as one: a line of a paragraph that begins with "%"."""
SOURCE_URL = "DLCORE_SOURCE_URL"
"""Environment variable: address of the repository's files, such as https://host/owner/dlcore/blob/main."""


class Targets:
    """What shows a file of the repository on the site.

    Args:
      chapters: of `read_chapters`.
    """

    def __init__(self, chapters: list[Chapter]):
        self.chapters = {chapter.name: chapter for chapter in chapters}
        self.entries = {entry.path: entry for chapter in chapters for entry in chapter.entries}
        for entry in list(self.entries.values()):
            experiment = entry.path.replace("dlcore/", "experiments/", 1)
            if (ROOT / experiment).exists():
                self.entries.setdefault(experiment, entry)
        self.address = os.environ.get(SOURCE_URL, "").rstrip("/")

    def of(self, path: str) -> str | None:
        """Find the page of a file.

        Args:
          path: file or folder in the repository.

        Returns:
          The target of a Markdown link; None where the site does not show the file and the repository has no address.
        """
        if entry := self.entries.get(path):
            return f"#{entry.label}"
        if path in ("README.md", "docs"):
            return "/index.md"
        if path == "dlcore/README.md":
            return "/generated/api/index.md"
        if path in DOCUMENTS:
            return f"/generated/{DOCUMENTS[path]}.md"
        if path.startswith("docs/") and path.endswith(".md"):
            return path.removeprefix("docs")
        if (
            path.startswith("dlcore/")
            and "/_" not in path
            and (path.endswith(".py") or (ROOT / path / "__init__.py").exists())
        ):
            return "#module-" + re.sub(r"[/._]", "-", path.removesuffix(".py").removesuffix("/__init__"))
        return f"{self.address}/{path}" if self.address else None


def rewrite(text: str, path: Path, targets: Targets) -> str:
    """Rewrite the links of a document.

    Args:
      text: Markdown.
      path: of the document in the repository, from which its links start.
      targets: what shows each file.

    Returns:
      Markdown whose links lead to pages; where nothing shows the file, its name is left without a link.

    Raises:
      PageError: a link leads to no file.
    """

    def link(found: re.Match) -> str:
        picture, words, address = found.groups()
        file, mark, anchor = address.partition("#")
        if re.match(r"[a-z]+:", address) or not file or file.startswith("/"):
            return found[0]
        target = posixpath.normpath((path.parent / file).as_posix())
        if not (ROOT / target).exists():
            raise PageError(f"{path}: the link to {address} leads to no file")
        if picture:
            return f"![{words}](/{target.removeprefix('docs/')})" if target.startswith("docs/") else words
        page = targets.of(target)
        if page is None:
            return words
        return f"[{words}]({page}{mark + anchor if mark and not page.startswith('#') else ''})"

    parts = re.split(r"(^(?:```|:::).*?^(?:```|:::)$|`[^`\n]+`(?!\]))", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else COMMENT.sub(r"\1\%", LINK.sub(link, part)) for i, part in enumerate(parts))
