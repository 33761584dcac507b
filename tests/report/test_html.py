import re
from html.parser import HTMLParser

import numpy as np
import pytest

from dlcore.report.classification import confusion_matrix, worst_mistakes
from dlcore.report.curves import curves
from dlcore.report.filters import filters
from dlcore.report.html import render
from dlcore.report.measures import in_per_cent
from dlcore.report.panel import Panel
from dlcore.report.pictures import examples
from dlcore.report.tables import text

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Balance(HTMLParser):
    """Fails where an element is closed that was not opened last."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(**kwargs):
    panels = [Panel(f"Panel {number}: more", "<p>inside</p>", "a note") for number in range(kwargs.pop("panels", 2))]
    return render("A <b>run</b>", panels, {"test <i>accuracy</i>": "97 %"}, "seed & data", **kwargs)


def test_page_is_one_well_formed_file_with_nothing_from_outside():
    html = page(panels=5, details={"Settings": {"learning_rate": 0.1}})
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert not re.findall(r"https?:|//\w|<script|<link|@import|url\(", html)


def test_everything_from_outside_is_escaped():
    html = page(details={"<Settings>": {"<key>": "<value>"}})
    for raw in ("<b>", "<i>", "seed & data", "<Settings>", "<key>", "<value>"):
        assert raw not in html
    assert "A &lt;b&gt;run&lt;/b&gt;" in html


def test_cards_come_in_order_before_the_panels_and_details_last_and_closed():
    html = render(
        "t", [Panel("Curves", "<p></p>")], {"one": "1", "two": "2"}, details={"Settings": {"width": 64}, "None": {}}
    )
    order = [
        html.index(part)
        for part in ("<dt>one</dt><dd>1</dd>", "<dt>two</dt>", "<h2>Curves</h2>", "<details>", "<td>64")
    ]
    assert order == sorted(order)
    assert html.count("<details") == 1
    assert "<details open" not in html


def test_contents_link_to_the_panels_where_there_are_many():
    assert "<nav" not in page(panels=3)
    html = page(panels=4)
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', html)
    assert [name for _, name in links] == ["Panel 0", "Panel 1", "Panel 2", "Panel 3"]
    assert all(f'<section id="{target}">' in html for target, _ in links)


def test_page_follows_the_readers_light_or_dark_mode():
    html = page()
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert 'name="viewport"' in html
    light, dark = (set(re.findall(r"--(\w+): #", block)) for block in re.findall(r":root \{(.*?)\}", html, re.DOTALL))
    assert light == dark
    assert set(re.findall(r"var\(--(\w+)\)", html)) - {"color"} <= light


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("test accuracy", True),
        ("test accuracy, all by hand", True),
        ("map", True),
        ("probe_untrained", True),
        ("loss", False),
        ("frechet_distance", False),
        ("map_l1", False),
    ],
)
def test_fractions_are_known_by_name(name, share):
    assert in_per_cent(name) == share


def test_whole_report_has_no_address_outside_itself():
    rng = np.random.default_rng(0)
    every = [
        curves([{"step": s, "split": "train", "loss": 1 / s} for s in range(1, 50)]),
        confusion_matrix(np.eye(30, dtype=int)),
        worst_mistakes(np.zeros((4, 8, 8, 3)), np.arange(4), rng.random((4, 5))),
        filters(rng.normal(size=(3, 3, 3, 8))),
        examples(np.zeros((4, 64, 64, 1))),
        text("t", "b"),
    ]
    html = render("title", every, {"loss": "1"})
    addresses = set(re.findall(r"(?:https?:)?//[\w./-]+", re.sub(r"base64,[\w+/=]+", "", html)))
    assert {a for a in addresses if "www.w3.org" not in a} == set()


def test_neighbors_of_half_the_width_stand_side_by_side():
    panels = [Panel("a", "1"), Panel("b", "2", half=True), Panel("c", "3", half=True), Panel("d", "4")]
    html = render("t", panels, {})
    (row,) = re.findall(r'<div class="halves">(.*?)</div>', html, re.DOTALL)
    assert re.findall("<h2>(.)</h2>", row) == ["b", "c"]
    assert re.findall(r'<section id="panel-(\d)"><h2>(.)</h2>', html) == [
        ("1", "a"),
        ("2", "b"),
        ("3", "c"),
        ("4", "d"),
    ]


def test_panels_without_content_are_left_out():
    html = render("t", [Panel("full", "<p>1</p>"), Panel("nothing", "")], {})
    assert re.findall("<h2>(.*?)</h2>", html) == ["full"]


def test_banner_stands_above_the_title():
    html = render("t", [], {}, banner="a <smoke> run")
    assert html.index("a &lt;smoke&gt; run") < html.index("<h1>")
    assert 'class="banner"' not in render("t", [], {})


def test_cards_of_known_measures_are_explained():
    html = render("t", [], {"test psnr": "20", "steps": "3"})
    assert '<dt title="Peak signal-to-noise ratio, in dB' in html
    assert "<dt>steps</dt>" in html


def test_a_panel_of_half_the_width_gets_the_next_one_as_a_neighbor():
    """b is alone, so that e comes up beside it; d and g make the next pair, and h stays alone."""
    panels = [Panel(name, name, half=name in "begh") for name in "abcdefghi"]
    html = render("t", panels, {})
    rows = re.findall(r'<div class="halves">(.*?)</div>', html, re.DOTALL)
    assert [re.findall("<h2>(.)</h2>", row) for row in rows] == [["b", "e"], ["g", "h"]]
    assert re.findall("<h2>(.)</h2>", html) == [*"abecdfghi"]
