"""The pages of the tutorial: self-contained, escaped, and honest about a cell that failed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.tutorial import render

GOOD = '''"""First: a & b."""

# %% [markdown]
# Before any heading, `code` and <b>no markup</b>.
#
# ## One
#
# | a | b |
# | - | - |
# | 1 | 2 |

# %%
import matplotlib.pyplot as plt

print("1 < 2")
plt.plot([1, 2])
plt.show()
'''
BAD = '"""Second."""\n\n# %%\nx = 1\n\n# %%\nprint("so far")\nraise ValueError("k is 0")\n'


@pytest.fixture
def folder(tmp_path):
    lessons = tmp_path / "lessons"
    lessons.mkdir()
    (lessons / "__init__.py").write_text("")
    (lessons / "a_first.py").write_text(GOOD)
    (lessons / "b_second.py").write_text(BAD)
    return lessons


def test_lessons_come_in_order_and_by_name(folder):
    assert [path.stem for path in render.lessons(folder)] == ["a_first", "b_second"]
    assert [path.stem for path in render.lessons(folder, "second")] == ["b_second"]
    with pytest.raises(ValueError, match="only='third' is in no name of a_first, b_second"):
        render.lessons(folder, "third")


def test_a_page_holds_prose_code_output_and_figure_and_no_address(folder, tmp_path):
    failures = render.write(render.lessons(folder, "first"), tmp_path / "out")
    html = (tmp_path / "out" / "a_first.html").read_text()
    assert failures == []
    assert "<h1>First: a &amp; b</h1>" in html
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["To begin with", "One"]
    assert "&lt;b&gt;no markup&lt;/b&gt;" in html
    assert "<table>" in html
    assert "<pre>1 &lt; 2</pre>" in html
    assert html.count('src="data:image/png;base64,') == 1
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)
    index = (tmp_path / "out" / "index.html").read_text()
    assert '<a href="a_first.html">First: a &amp; b</a>' in index


def test_a_cell_that_raises_is_named_and_the_others_still_run(folder, tmp_path):
    (failure,) = render.write(render.lessons(folder)[::-1], tmp_path)
    assert failure == ("b_second", 2, 7, "ValueError: k is 0")
    html = (tmp_path / "b_second.html").read_text()
    assert "<pre>so far</pre>" in html
    assert "ValueError: k is 0</pre>" in html
    assert (tmp_path / "a_first.html").exists()


def test_the_command_ends_with_1_after_a_failure_and_with_2_for_a_wrong_name(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(render, "LESSONS", folder)
    assert render.main([f"--out={tmp_path}", "--only=first"]) == 0
    assert render.main([f"--out={tmp_path}"]) == 1
    assert "error: b_second, cell 2 (line 7): ValueError: k is 0" in capsys.readouterr().err
    assert render.main(["--only=third"]) == 2
    assert "only='third'" in capsys.readouterr().err


def test_the_renderers_are_requirements_of_rich():
    """Prose and code are rendered by what rich needs, and dlcore needs rich."""
    from importlib.metadata import requires

    needed = " ".join(line for line in requires("rich") if "extra" not in line)
    assert "markdown-it-py" in needed
    assert "pygments" in needed


@pytest.mark.slow
def test_importing_the_renderer_runs_no_lesson():
    code = "import sys, experiments.tutorial.render; print([m for m in sys.modules if 'lesson_' in m])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
