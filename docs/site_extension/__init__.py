"""The Sphinx extension of this site: pages that are made of the code, links between documents, and equations.

Before Sphinx reads `docs/`, it writes `docs/generated/`: a page for each technique and experiment that a chapter of
`docs/book/` lists, the reference of all public names, the catalogue, the flags, and copies of the documents that stand
outside `docs/`. Links to files of the repository become links to the page that shows the file.
"""

import os
import sys
from pathlib import Path

from sphinx.errors import ExtensionError

from site_extension import (
    api,
    catalog,
    documents,
    equations,
    executed,
    gallery,
    house,
    lookup,
    settings,
    techniques,
    topics,
)
from site_extension.book import PageError, read_chapters
from site_extension.links import Targets, rewrite
from site_extension.rendered import check_page
from site_extension.repository import DOCS, GENERATED

__all__ = ["setup"]

GALLERY = "<!-- gallery -->"
"""Where a page shows the pictures of some techniques."""
FILTERED = ("generated/catalog", "generated/flags", "generated/results")
"""Pages of long tables, which a reader opens by a word."""


def setup(app):
    """Connect the extension.

    Args:
      app: Sphinx application.

    Returns:
      What Sphinx wants to know of an extension.
    """
    equations.setup(app)
    lookup.setup(app)
    app.add_directive("run-python", executed.RunPython)
    if not any(argument.startswith(("-j", "--jobs")) for argument in sys.argv):
        app.parallel = os.cpu_count() or 1
    app.connect("builder-inited", _write)
    app.connect("env-before-read-docs", _spread)
    app.connect("source-read", _link)
    app.connect("html-page-context", _filter)
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app) -> None:
    try:
        chapters = read_chapters()
        gallery.check_pictures([entry for chapter in chapters for entry in chapter.entries])
        app.targets = Targets(chapters)
        pages: dict[str, str] = {}
        for part in (techniques, topics, api, catalog, settings, documents, house):
            pages |= part.pages(chapters, app.targets)
    except PageError as error:
        raise ExtensionError(str(error)) from error
    for old in GENERATED.rglob("*.md"):
        if old.relative_to(GENERATED).as_posix() not in pages:
            old.unlink()
    for name, text in pages.items():
        path = GENERATED / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def _spread(app, env, docnames: list[str]) -> None:
    """Part the chapters, whose code takes most of the time, among the processes, each of which reads a run of pages."""
    docnames.sort(key=lambda name: name[::-1])


def _link(app, docname: str, source: list[str]) -> None:
    path = DOCS / f"{docname}.md"
    if path.is_relative_to(GENERATED) or not path.exists():
        return
    try:
        techniques.check_citations(source[0], f"{docname}.md")
        source[0] = rewrite(source[0], Path("docs") / f"{docname}.md", app.targets)
        if GALLERY in source[0]:
            front = gallery.front_gallery(app.targets.chapters.values())
            source[0] = source[0].replace(GALLERY, f"{front}\n\nAll pictures, by topic: {topics.links()}.")
        source[0] += gallery.chapter_pictures(docname, app.targets) + _notebook(docname)
    except PageError as error:
        raise ExtensionError(str(error)) from error


def _filter(app, pagename: str, template: str, context: dict, doctree) -> None:
    if pagename in FILTERED:
        app.add_js_file("filter.js", loading_method="defer")


def _check(app, exception) -> None:
    """Check that every page that is written in Markdown shows all of it."""
    if exception is not None or app.builder.format != "html":
        return
    errors = []
    for docname in sorted(app.env.found_docs):
        source = DOCS / f"{docname}.md"
        if source.exists():
            page = Path(app.outdir) / f"{docname}.html"
            try:
                check_page(docname, source.read_text(encoding="utf-8"), page.read_text(encoding="utf-8"))
            except PageError as error:
                errors.append(str(error))
    if errors:
        raise ExtensionError("\n".join(errors))


def _notebook(docname: str) -> str:
    """Where a chapter has a notebook, a section that leads to it."""
    page = f"/notebooks/chapter_{docname.removeprefix('book/')}.ipynb"
    if not (DOCS / page[1:]).exists():
        return ""
    return f"\n## Notebook\n\n[Try the main idea of this chapter]({page}) on a toy that runs in seconds.\n"
