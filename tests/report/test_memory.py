"""The panel of a step's memory: shares, and the advice on the largest part."""

import re

import pytest

from dlcore.report.memory import memory_panel


def test_shares_and_the_advice_on_the_largest_part():
    panel = memory_panel({"parameters": 3 * 2**20, "batch": 2**20}, {"sharding"})
    assert panel.title == "Memory of a step: 4.0 MiB"
    assert "75.0 %" in panel.html
    assert "fsdp" in panel.subtitle


@pytest.mark.covers("TR-28")
def test_temporaries_are_made_less_by_recomputation():
    panel = memory_panel({"parameters": 10, "temporaries": 1000}, {"model.remat", "batch_size"}, 800)
    assert panel.subtitle.endswith("Less: a smaller --batch_size, --model.remat=full.")
    assert "stored for the backward pass" in panel.html
    assert memory_panel({}, ()).subtitle == ""


def test_flags_that_a_run_does_not_have_are_not_advised():
    assert memory_panel({"temporaries": 1000}, {"batch_size", "seed"}).subtitle.endswith(
        "Less: a smaller --batch_size."
    )
    assert memory_panel({"temporaries": 1000}, {"seed"}).subtitle == ""


def test_parts_of_no_size_are_left_out():
    html = memory_panel({"parameters": 10, "optimizer": 0}, ()).html
    assert "parameters" in html
    assert "optimizer" not in html


def test_rows_have_their_size_and_share_and_the_backward_pass_stands_outside_of_the_sum():
    panel = memory_panel({"parameters": 3 * 2**20, "optimizer": 6 * 2**20, "batch": 0}, {"sharding"}, 2**10)
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in panel.html.split("<tr>")[2:]]
    assert rows[:2] == [["parameters", "3.0 MiB", "33.3 %"], ["optimizer", "6.0 MiB", "66.7 %"]]
    assert rows[2][1:] == ["1.0 KiB", ""]
    assert (panel.title, panel.half) == ("Memory of a step: 9.0 MiB", True)
    assert panel.subtitle == "Most of it is the optimizer's state. Spread over devices: --sharding=fsdp."
    assert memory_panel({"batch": 9, "parameters": 1}, {"sharding"}).subtitle == ""
