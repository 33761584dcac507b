"""Lookups that Sphinx repeats on hundreds of pages in one process, made short: names of the reference and word stems.

Sphinx compares a type in a signature, such as `jax.Array`, with the end of every name of the reference. It reduces each
word of a page to its stem, though other pages have the same words.
"""

import functools

from sphinx.domains.python import PythonDomain
from sphinx.search.en import SearchEnglish

__all__ = ["CachedEnglish", "IndexedPythonDomain", "setup"]


class IndexedPythonDomain(PythonDomain):
    """The reference, which is searched only for names whose last part ends one of its names."""

    def find_obj(self, env, modname, classname, name, type, searchmode=0):
        """Find a name as Sphinx does.

        Args:
          env: environment of the build.
          modname: module of the reference.
          classname: class of the reference.
          name: name that a page refers to.
          type: role of the reference.
          searchmode: 1 where the end of a name suffices.

        Returns:
          Pairs of a name and its entry.
        """
        if _last_part(name.removesuffix("()")) not in self._last_parts(len(self.objects)):
            return []
        return super().find_obj(env, modname, classname, name, type, searchmode)

    @functools.lru_cache(maxsize=1)  # noqa: B019  (Sphinx has one reference)
    def _last_parts(self, count: int) -> frozenset[str]:
        """Last parts of all names; the count tells whether a page has added some."""
        return frozenset(_last_part(name) for name in self.objects)


class CachedEnglish(SearchEnglish):
    """The search language, which remembers stems."""

    def __init__(self, options):
        super().__init__(options)
        self.stem = functools.cache(super().stem)


def _last_part(name: str) -> str:
    return name.rpartition(".")[2]


def setup(app) -> None:
    """Replace Sphinx's own.

    Args:
      app: Sphinx application.
    """
    app.add_domain(IndexedPythonDomain, override=True)
    app.add_search_language(CachedEnglish)
