"""A panel: one section of a report."""

from typing import NamedTuple

__all__ = ["Panel"]


class Panel(NamedTuple):
    """One section of a report.

    Args:
      title: plain text; escaped when the page is rendered.
      html: the section's body, inserted as it is.
      subtitle: plain text, a line under the title; empty for none.
      half: whether the panel takes half of the page's width, beside another such panel.
    """

    title: str
    html: str
    subtitle: str = ""
    half: bool = False
