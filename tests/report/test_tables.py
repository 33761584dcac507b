from dlcore.report.tables import table, text
from tests.report.parts_of_panels import cells


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


def test_a_number_with_a_unit_is_kept_on_a_line_and_other_words_are_not():
    rows = [{"a": "-1,234.5 %", "b": "12 B", "c": "3.1 TiB"}, {"a": "1 kB", "b": "12 %x", "c": "of 12 %"}]
    html = table(rows, "Sizes", "of three").html
    assert html.count('class="unit"') == 3
    assert html.split("<tr>")[3].count("<td>") == 3
    panel = table({"lr": 0.5}, "Settings", "Of a run.")
    assert (panel.title, panel.subtitle) == ("Settings", "Of a run.")
    assert (table(rows, "Sizes", "of three").title, table(rows, "Sizes", "of three").subtitle) == ("Sizes", "of three")
    assert text("t", " a \n\n\n\nb", "s") == ("t", "<p>a</p><p>b</p>", "s", False)


def test_a_column_of_numbers_and_words_is_one_of_words():
    html = table([{"n": 1, "w": 1}, {"n": 2.5, "w": "x"}]).html
    assert '<th class="number">n</th><th>w</th>' in html
    assert cells(html) == [["1", "1"], ["2.5", "x"]]
