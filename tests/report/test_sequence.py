"""Samples of text: the prompt in bold, the temperature in words, and no HTML from the text."""

import re

import numpy as np

from dlcore.report.sequence import alignments, filled_text, text_samples


def test_text_is_escaped_and_temperatures_are_said():
    html = text_samples(["<The> ", "A"], ["end & more", "b"], [0.0, 0.5]).html
    assert "<b>&lt;The&gt; </b>end &amp; more</pre>" in html
    assert "greedy (temperature 0)" in html
    assert "temperature 0.5" in html


def test_attention_by_hand():
    """Source tokens are columns, output tokens rows; weights beyond the tokens are left out."""
    weights = [np.array([[0.25, 1, 9], [0.5, 0, 9], [9, 9, 9]])]
    panel = alignments(weights, [["a", "<b>"]], [["x", "y"]], "Maps", "of two")
    cells = re.findall(r'background:rgba\(59,130,246,(.*?)\).*?title="(.*?)"', panel.html)
    assert cells == [
        ("0.25", "x → a: 0.25"),
        ("1.00", "x → &lt;b&gt;: 1.00"),
        ("0.50", "y → a: 0.50"),
        ("0.00", "y → &lt;b&gt;: 0.00"),
    ]
    assert re.findall(r'scope="col" class="(.*?)"><span>(.*?)<', panel.html) == [("tall", "a"), ("tall", "&lt;b&gt;")]
    assert re.findall(r'scope="row">(.*?)<', panel.html) == ["x", "y"]
    assert (panel.title, panel.subtitle) == ("Maps", "of two")
    assert 'class="tall"' not in alignments(weights, [["ab", "c"]], [["x"]]).html


def test_hidden_characters_by_hand():
    panel = filled_text([("a <\nb", "a c\n ", [True, False, True, False, True])], "Of two.")
    body = re.search(r"<pre[^>]*>(.*)</pre>", panel.html, re.DOTALL)[1]
    assert body.split("\n") == [
        "given       ▁ ▁↵▁",
        "filled in   <b>a</b> <del>c</del>↵<del>␣</del>",
        "text        a &lt;↵b",
    ]
    assert panel.subtitle == "Bold: correct; struck out: wrong. Of two."
