"""The documents that stand outside `docs/`, as pages."""

from pathlib import Path

from site_extension.links import DOCUMENTS, rewrite
from site_extension.repository import ROOT, read

__all__ = ["pages"]


def pages(chapters, targets) -> dict[str, str]:
    """Copy the documents, with links that lead to pages.

    Args:
      chapters: of the book.
      targets: what shows each file.

    Returns:
      Page -> Markdown.
    """
    return {
        f"{page}.md": rewrite(read(file), Path(file), targets)
        for file, page in DOCUMENTS.items()
        if (ROOT / file).exists()
    }
