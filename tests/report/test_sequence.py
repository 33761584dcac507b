"""Samples of text: the prompt in bold, the temperature in words, and no HTML from the text."""

from dlcore.report.sequence import text_samples


def test_text_is_escaped_and_temperatures_are_said():
    html = text_samples(["<The> ", "A"], ["end & more", "b"], [0.0, 0.5]).html
    assert "<b>&lt;The&gt; </b>end &amp; more</pre>" in html
    assert "greedy (temperature 0)" in html
    assert "temperature 0.5" in html
