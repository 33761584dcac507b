import re

from dlcore.report.tables import table, text


def cells(html):
    """The body of the first table, as text."""
    body = re.search(r"<tbody>(.*?)</tbody>", html, re.DOTALL)[1]
    return [
        [re.sub("<[^>]+>", "", c) for c in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", r)] for r in body.split("<tr>")[1:]
    ]


def test_table_of_rows():
    html = table([{"layer": "<conv>", "size": 3, "share": 0.123456}, {"layer": "dense", "size": None}]).html
    assert cells(html) == [["&lt;conv&gt;", "3", "0.1235"], ["dense", "", ""]]
    assert html.count('<th class="number"') == 2
    assert table([]).html


def test_a_number_stays_beside_its_unit():
    html = table([{"part": "the optimizer", "size": "1017.2 KiB"}]).html
    assert '<td class="unit">1017.2 KiB</td>' in html
    assert "<td>the optimizer</td>" in html


def test_table_of_one_mapping():
    assert "<th scope='row'>lr</th><td>&lt;0.1&gt;</td>" in table({"lr": "<0.1>"}).html


def test_text_parts_paragraphs_and_escapes():
    assert text("t", "one <b>\n\ntwo").html == "<p>one &lt;b&gt;</p><p>two</p>"
