"""The book and the site: every technique stands in one chapter, and what a page lacks is named."""

import ast
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from experiments import gallery

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site():
    """The modules of the site's extension that need no Sphinx."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        # The package itself connects to Sphinx; these modules need the standard library alone.
        package = type(sys)("site_extension")
        package.__path__ = [str(ROOT / "docs" / "site_extension")]
        before = sys.modules.get("site_extension")
        sys.modules["site_extension"] = package
        names = (
            "book",
            "links",
            "techniques",
            "text",
            "topics",
            "api",
            "catalog",
            "gallery",
            "repository",
            "usage",
            "house",
            "rendered",
        )
        yield type("Site", (), {name: importlib.import_module(f"site_extension.{name}") for name in names})
    finally:
        sys.path.remove(str(ROOT / "docs"))
        for name in [name for name in sys.modules if name.split(".")[0] == "site_extension"]:
            del sys.modules[name]
        if before is not None:
            sys.modules["site_extension"] = before


@pytest.fixture(scope="module")
def chapters(site):
    return site.book.read_chapters()


def test_the_book_has_its_chapters_in_order(chapters):
    index = (ROOT / "docs" / "book" / "index.md").read_text()
    assert [chapter.name for chapter in chapters] == re.findall(r"^\d+\. \[[^]]+\]\((\w+)\.md\)", index, re.MULTILINE)
    assert [f"[{chapter.title}]" in index for chapter in chapters] == [True] * 22


def test_every_experiment_and_every_learner_has_exactly_one_page(site, chapters):
    """Twice is refused by read_chapters; an experiment also counts where the module of its name is listed."""
    entries = [entry for chapter in chapters for entry in chapter.entries]
    assert len({entry.docname for entry in entries}) == len(entries)
    pages = site.links.Targets(chapters).entries
    missing = []
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        if "\nexperiment = " in path.read_text(encoding="utf-8") and file not in pages:
            missing.append(file)
    for path in sorted((ROOT / "dlcore").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        alone = not (ROOT / file.replace("dlcore/", "experiments/", 1)).exists()
        # The learner of all two-stage detectors stands on their pages; an experiment of the same name has a page.
        if "\ndef learner(" in path.read_text(encoding="utf-8") and alone and file not in pages:
            missing.append(file)
    missing = [file for file in missing if file != "dlcore/detection/two_stage.py"]
    assert not missing, "add a line to the lists of a chapter in docs/book: " + ", ".join(missing)


def test_every_technique_has_an_equation_and_a_reference(site, chapters):
    for chapter in chapters:
        for entry in chapter.entries:
            if entry.path.startswith("dlcore/"):
                text = site.repository.read(entry.path).split('"""')[1]  # that of the module, nearly always
                if not (site.text.has_equation(text) and site.text.has_reference(text)):
                    text = site.repository.docstrings(entry.path)
                assert site.text.has_equation(text), f"{entry.path}: no equation"
                assert site.text.has_reference(text), f"{entry.path}: no reference"


def test_links_of_the_book_lead_somewhere(chapters):
    missing = []
    for chapter in chapters:
        for target in re.findall(r"\]\(([^)\s]+)\)", chapter.text):
            file = target.split("#")[0]
            if not re.match(r"https?:", target) and not (ROOT / "docs" / "book" / file).resolve().exists():
                missing.append(f"{chapter.name}: {target}")
    assert not missing


def test_numbers_of_the_book_are_those_of_the_ledger(site, chapters):
    for chapter in chapters:
        site.techniques.check_citations(chapter.text, chapter.name)


def test_a_stale_ledger_id_and_a_wrong_number_are_named(site):
    check, error = site.techniques.check_citations, site.book.PageError
    mean = site.techniques.ledger_rows()["digits-resnet8"]["mean"]
    assert round(100 * mean, 1) == 99.1
    check("[99.1 %](../experiments/results.jsonl#digits-resnet8)", "page")
    with pytest.raises(error, match=r"page: .*digits-resnet9: the ledger has no such id"):
        check("[99.1 %](../experiments/results.jsonl#digits-resnet9)", "page")
    with pytest.raises(error, match=r"the ledger has 99\.0667"):
        check("[98.1 %](../experiments/results.jsonl#digits-resnet8)", "page")
    check("[96.3 %](../experiments/simple/values.jsonl#digits-knn)", "page")
    with pytest.raises(error, match=r"page: simple/values.*digits-resnet8: the ledger has no such id"):
        check("[99.1 %](../experiments/simple/values.jsonl#digits-resnet8)", "page")
    with pytest.raises(error, match=r"page: .*digits-knn\): the ledger has 96\.2667"):
        check("[97 %](../experiments/simple/values.jsonl#digits-knn)", "page")


def test_a_technique_without_an_equation_or_a_reference_is_named(site, chapters, monkeypatch):
    entry = chapters[0].entries[0]
    targets = site.links.Targets(chapters)
    for text, lacks in (("Words alone, 1998.", "equation"), ("Words.\n\n    a = b\n", "reference")):
        monkeypatch.setattr(site.techniques, "docstrings", lambda path, text=text: text)
        with pytest.raises(site.book.PageError, match=f"{re.escape(entry.path)}: its docstrings have no {lacks}"):
            site.techniques.pages([chapters[0]], targets)


def test_a_public_name_without_a_docstring_is_named(site, monkeypatch):
    monkeypatch.setattr(site.api, "parse", lambda path: ast.parse('"""Module."""\n__all__ = ["f"]\ndef f(): ...\n'))
    with pytest.raises(site.book.PageError, match=r"dlcore/learner\.py: f: a public name without a docstring"):
        site.api._module("dlcore/learner.py")


def test_a_file_listed_twice_and_a_malformed_line_are_named(site, tmp_path):
    head = "# Title\n\n## Techniques\n\n"
    line = "- [SimCLR](../../dlcore/self_supervised/simclr.py)\n"
    (tmp_path / "01_a.md").write_text(head + line)
    (tmp_path / "02_b.md").write_text(head + line)
    with pytest.raises(site.book.PageError, match=r"02_b.md: dlcore/self_supervised/simclr.py is listed in 01_a.md"):
        site.book.read_chapters(tmp_path)
    (tmp_path / "02_b.md").write_text(head + "- SimCLR\n")
    with pytest.raises(site.book.PageError, match=r"02_b\.md: '- SimCLR'"):
        site.book.read_chapters(tmp_path)
    (tmp_path / "02_b.md").write_text(head + line.replace("SimCLR", "Sim_clr"))
    with pytest.raises(site.book.PageError, match=r"02_b\.md: title 'Sim_clr': an underscore"):
        site.book.read_chapters(tmp_path)


def test_links_become_links_between_pages(site, chapters):
    targets, path = site.links.Targets(chapters), Path("docs/techniques.md")
    rewrite = site.links.rewrite
    assert (
        rewrite("[a](../experiments/self_supervised/simclr.py)", path, targets) == "[a](#page-self-supervised-simclr)"
    )
    assert rewrite("[a](running.md#flags)", path, targets) == "[a](/running.md#flags)"
    assert rewrite("[a](../dlcore/ops/boxes.py) `[a](b)`", path, targets).endswith(") `[a](b)`")
    assert rewrite("[a](../dlcore/learner.py)", path, targets) == "[a](#module-dlcore-learner)"
    with pytest.raises(site.book.PageError, match=r"docs/techniques.md: the link to no.md leads to no file"):
        rewrite("[a](no.md)", path, targets)


def test_no_line_of_a_page_is_read_as_a_comment(site, chapters):
    """A line that begins with "%" is one: `[99.1`, `%](...)` on two lines would lose its end."""
    targets, path = site.links.Targets(chapters), Path("docs/techniques.md")
    text = "reaches [99.1\n%](../experiments/results.jsonl#a) and\n  % more\n```text\n% code\n```"
    assert site.links.rewrite(text, path, targets) == "reaches 99.1\n\\% and\n  \\% more\n```text\n% code\n```"
    assert site.text.escape("%s of it") == r"\%s of it"


def test_a_page_that_lacks_words_or_shows_markdown_is_named(site):
    check, error = site.rendered.check_page, site.book.PageError
    source = "# Title\n\n![Plot](a.webp){.chart}\n\n"
    source += "It *reaches* [99.1\n%](a.md) with $x_t$ in `code_a`.\n\n```bash\npython x\n```\n"
    page = "<nav>lost</nav><article><h1>Title</h1><p>It <em>reaches</em> <a>99.1 %</a> with <math>x</math> in {}.</p>"
    code = "<code><span>code_</span><span>a</span></code>"
    check("page", source, page.format(code) + "</article>")
    check("page", "", "<article>a <code>](b</code></article>")
    with pytest.raises(error, match="page: the page lacks 2 words of its source: code a"):
        check("page", source, page.format("") + "</article>")
    with pytest.raises(error, match="page: the page lacks 1 words of its source: lost"):  # the navigation has it
        check("page", source + "lost", page.format(code) + "</article>")
    for shown in ("adds <a>up</a>](#page-losses)", "{ref}`page`"):
        with pytest.raises(error, match="page: the page shows Markdown: "):
            check("page", "", f"<article><p>{shown}</p></article>")


def test_the_returns_section_is_one_list_item(site):
    """A second line of it is no item of a list, which would split its `code`."""
    code = 'def f():\n    """Do.\n\n    Returns:\n      The learner; `a [B,\n      3]` too.\n    """'
    assert site.api.described(ast.parse(code).body[0]) == "Do.\n\n**Returns**\n\n- The learner; `a [B, 3]` too."


def test_an_equation_that_is_no_latex_is_named(site):
    errors = pytest.importorskip("sphinx.errors")
    equations = importlib.import_module("site_extension.equations")
    equations.check(r"\hat{m}_t = \frac{1}{2} \log p(x)", "page")
    for tex in (r"\fraq{1}{2}", "a}b"):
        with pytest.raises(errors.ExtensionError, match="page: equation "):
            equations.check(tex, "page")


def test_no_accent_of_the_book_covers_an_index(chapters):
    wrong = [re.findall(r"\\(?:hat|bar|tilde|vec)\{[^}]*_[^}]*\}", chapter.text) for chapter in chapters]
    assert not sum(map(len, wrong)), wrong


@pytest.mark.slow
def test_the_site_needs_no_pytest(site, chapters, monkeypatch):
    """`pip install -e '.[docs]'` installs none."""
    monkeypatch.setitem(sys.modules, "pytest", None)
    assert "ops\n" in site.house.pages(chapters, site.links.Targets(chapters))["house.md"]


def test_docstrings_become_markdown(site):
    text = "Sum_i of x*y.\n\n    L = sum_i x_i\n\nDo `a_b`:\npython -m x.y --z\n"
    expected = "Sum\\_i of x\\*y.\n\n```text\nL = sum_i x_i\n```\n\nDo `a_b`:\n\n```bash\npython -m x.y --z\n```"
    assert site.text.markdown(text) == expected


def test_a_remark_moves_nearer_where_the_line_is_wider_than_a_page(site):
    equation = "y = r + gamma (1 - e) min_k Q_k(s', a')"  # 39 characters
    wide, narrow = f"    {equation}{' ' * 40}of the target", f"    {equation}{' ' * 20}of the target"
    for line, gap in ((wide, 4), (narrow, 20)):
        assert site.text.markdown(f"Text.\n\n{line}") == f"Text.\n\n```text\n{equation}{' ' * gap}of the target\n```"


def test_pages_of_the_reference_show_what_an_override_inherits(site):
    code = "class A:\n def f(self, x, y):\n  '''Do.\n\n  Args:\n    x: a number.\n    y: of A.\n\n"
    code += "  Returns:\n    A sum.\n  '''\n"
    code += "class B(A):\n 'A part.'\n def f(self, x, y):\n  '''Do otherwise.\n\n  Args:\n    y: of B.\n  '''\n"
    tree = ast.parse(code)
    assert site.api.reference(tree.body[1], tree) == (
        ":::::{py:class} B\n\nA part.\n\n::::{py:method} f(self, x, y)\n\nDo otherwise.\n\n**Args**\n\n"
        "- `y`: of B.\n- `x`: a number.\n\n**Returns**\n\n- A sum.\n::::\n:::::"
    )
    tree = site.repository.parse("dlcore/optim/partial.py")
    adamw = site.api.reference(next(node for node in tree.body if getattr(node, "name", "") == "PartsAdamW"), tree)
    assert "- `steps_per_epoch`: training steps of an epoch, which `milestones` count in." in adamw


def test_pictures_of_the_gallery_are_small_and_belong_to_pages(site, chapters):
    site.gallery.check_pictures([entry for chapter in chapters for entry in chapter.entries])


def test_a_large_a_foreign_and_a_nameless_picture_are_named(site, chapters, tmp_path):
    entries, check, error = list(chapters[0].entries), site.gallery.check_pictures, site.book.PageError
    good = tmp_path / f"{entries[0].name}.webp"
    good.write_bytes(b"0" * 60_000)
    check(entries, tmp_path)
    good.write_bytes(b"0" * 60_001)
    with pytest.raises(error, match=rf"gallery/{entries[0].name}\.webp: 60001 bytes; allowed: at most 60000"):
        check(entries, tmp_path)
    good.rename(tmp_path / "no.page.webp")
    with pytest.raises(error, match=r"gallery/no\.page\.webp: no chapter lists a page of this name"):
        check(entries, tmp_path)
    (tmp_path / "no.page.webp").rename(tmp_path / "picture.png")
    with pytest.raises(error, match=r"gallery/picture\.png: not a \.webp file"):
        check(entries, tmp_path)


def test_every_picture_of_the_gallery_stands_on_the_page_of_its_topic(site, chapters, monkeypatch):
    monkeypatch.setattr(site.gallery, "is_chart", lambda path: False)  # it would read 600 pictures
    made = site.topics.pages(chapters, None)
    shown = [name for page in made.values() for name in re.findall(r":img-top: /gallery/(\S+)", page)]
    results, figures = (
        {path.name for path in (ROOT / "docs" / "gallery" / part).glob("*.webp")} for part in ("", "figures")
    )
    assert sorted(shown) == sorted(results | {f"figures/{name}" for name in figures - results})
    toctree = re.findall(r"^generated/(topics/\w+)$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    assert [f"{page}.md" for page in toctree] == list(made)


def test_a_folder_without_a_topic_is_named(site, chapters, monkeypatch):
    monkeypatch.delitem(site.topics.TOPICS, "video")
    with pytest.raises(site.book.PageError, match="TOPICS has no topic for video"):
        site.topics.pages(chapters, None)


def test_a_picture_of_white_paper_alone_is_a_chart(site, tmp_path):
    """20 of 100 pixels may have a color: of 10 rows, two."""
    for rows, chart in ((2, True), (3, False)):
        image = Image.new("RGB", (10, 10), "white")
        image.paste("black", (0, 0, 10, rows))
        image.save(tmp_path / f"{rows}.webp", lossless=True)
        assert site.gallery.is_chart(tmp_path / f"{rows}.webp") is chart


def test_a_table_of_results_has_no_empty_column(site):
    row = {**site.techniques.ledger_rows()["digits-resnet8"], "published": None}
    known = {**row, "published": {"value": 0.993, "source": "LeCun 1998"}}
    assert site.techniques.result_table([row]).splitlines()[:2] == [
        "| result | value | baseline | hardware | commit |",
        "| --- | --- | --- | --- | --- |",
    ]
    table = site.techniques.result_table([row, known]).splitlines()
    assert table[0] == "| result | value | baseline | published | hardware | commit |"
    assert [line.split(" | ")[3] for line in table[2:4]] == ["", "99.30 % (LeCun 1998)"]


def test_a_page_shows_whole_functions_without_docstrings(site, monkeypatch):
    code = '"""Module."""\n\n\ndef _a():\n    return 1\n\n\ndef learner(x):\n    """Learn.\n    """\n\n    return x\n'
    monkeypatch.setattr(site.techniques, "parse", lambda path: ast.parse(code))
    monkeypatch.setattr(site.techniques, "read", lambda path: code)
    head, tail = "````{code-block} python\n:caption: a.py\n\n", "\n````"
    private, learner = "def _a():\n    return 1", "def learner(x):\n    return x"
    assert site.techniques._code("a.py") == f"{head}{private}\n\n\n{learner}{tail}"
    monkeypatch.setattr(site.techniques, "MAX_CODE_LINES", 3)
    assert site.techniques._code("a.py") == f"{head}{learner}{tail}"


def test_the_gallery_is_small_as_a_whole(site, chapters, tmp_path):
    entries = [entry for chapter in chapters for entry in chapter.entries][:234]
    for entry in entries:
        (tmp_path / f"{entry.name}.webp").write_bytes(b"0" * 60_000)
    with pytest.raises(site.book.PageError, match="gallery: 14040000 bytes together; allowed: at most 14000000"):
        site.gallery.check_pictures(entries, tmp_path)


def _a_picture(command: str, title: str = "") -> bytes:
    file = io.BytesIO()
    image = Image.new("RGB", (40, 20), "white")
    image.paste("red", (10, 5, 30, 15))
    image.save(file, "PNG")
    return gallery.encode(file.getvalue(), command, title)


def test_a_picture_holds_the_command_of_its_run(tmp_path):
    command = "python -m experiments.detection.detr --epochs=6"
    for name, *said in (("with", command, "Worst σ² first"), ("without", "", "")):
        (tmp_path / f"{name}.webp").write_bytes(_a_picture(*said))
        assert gallery.origin_of(tmp_path / f"{name}.webp") == tuple(said)
        with Image.open(tmp_path / f"{name}.webp") as image:
            assert image.size == (20 + 2 * gallery.MARGIN, 10 + 2 * gallery.MARGIN)
            assert image.convert("RGB").getpixel((16, 10)) == (255, 0, 0)


def test_the_panel_that_tells_most_becomes_the_picture():
    curves, episode, table = ("Learning curves", 0, 6), ("An episode", 1, 0), ("Measures", 0, 0)
    returns, samples = ("Return of finished episodes, by seed", 0, 1), ("Samples", 8, 0)

    def chosen(*panels, wanted=""):
        return gallery.choose([gallery.Panel(i, *panel) for i, panel in enumerate(panels, 1)], wanted).title

    assert chosen(table, curves, returns, samples) == "Samples"
    assert chosen(table, episode, curves, returns) == "Return of finished episodes, by seed"
    assert chosen(table, curves, episode) == "An episode"
    worst, median = ("Worst images first", 32, 0), ("Images of median IoU", 16, 0)
    assert chosen(worst, median, curves) == "Images of median IoU"
    assert chosen(samples, table, wanted="measures") == "Measures"
    with pytest.raises(ValueError, match=r"panel='none': in no title .*; allowed: words of Samples, Measures"):
        chosen(samples, table, wanted="none")
    with pytest.raises(ValueError, match="no panel with a picture"):
        chosen(table)


def test_a_large_picture_is_shrunk_and_a_larger_one_refused(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    sizes = {}
    for allowed in (10_000, 4_000, 3_000):
        monkeypatch.setattr(gallery, "MAX_BYTES", allowed)
        monkeypatch.setattr(gallery, "WANTED_BYTES", allowed)
        webp = gallery.encode(file.getvalue())
        assert len(webp) <= allowed
        with Image.open(io.BytesIO(webp)) as image:
            sizes[allowed] = image.size
    assert sizes == {10_000: (92, 72), 4_000: (92, 72), 3_000: (74, 58)}
    monkeypatch.setattr(gallery, "MAX_BYTES", 100)
    monkeypatch.setattr(gallery, "WANTED_BYTES", 100)
    with pytest.raises(ValueError, match="bytes; allowed: 100; choose a smaller panel"):
        gallery.encode(file.getvalue())


@pytest.mark.slow
def test_the_layers_of_a_model_become_the_picture_of_its_page(tmp_path, capsys):
    assert gallery.main(["--models", "lenet5", "lenet6", f"--out={tmp_path}"]) == 1  # the second is unknown
    assert "name='lenet6'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["models.lenet.webp"]
    assert gallery.origin_of(tmp_path / "models.lenet.webp") == ("dlcore cost lenet5 --picture=lenet5.png", "")
    with pytest.raises(SystemExit):
        gallery.main([])
    assert "allowed: folders of runs, --models or --figures" in capsys.readouterr().err


def _drawn_pages() -> list[str]:
    """The techniques that have a function in docs/figures."""
    files = (path.relative_to(gallery.FIGURES) for path in gallery.FIGURES.rglob("*.py"))
    return sorted(".".join(path.with_suffix("").parts) for path in files)


def test_a_figure_of_a_technique_is_in_the_gallery_with_its_caption(chapters):
    entries = {entry.name for chapter in chapters for entry in chapter.entries if entry.path.startswith("dlcore/")}
    for page in _drawn_pages():
        assert page in entries, f"docs/figures: {page} is no technique of a chapter"
        tree = ast.parse((gallery.FIGURES / f"{page.replace('.', '/')}.py").read_text())
        (function,) = [
            node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == page.split(".")[-1]
        ]
        command, caption = gallery.origin_of(gallery.GALLERY / "figures" / f"{page}.webp")
        assert command == f"python -m experiments.gallery --figures {page}"
        assert caption == " ".join(ast.get_docstring(function).split()), f"{page}: draw it again"


DRAWN_OFTEN = [
    "backprop.custom_op",
    "backprop.layers",
    "backprop.mlp",
    "classic_ml.kernel_svm",
    "classic_ml.linear_regression",
    "classic_ml.perceptron",
    "cost.collectives",
    "data.clip_sampling",
    "diagnostics.loss_landscape",
    "generative.dpm_solver",
    "generative.sagan",
    "interpretability.occlusion",
    "losses.segmentation",
    "nn.cache",
    "nn.conv_pattern",
    "nn.rotary",
    "nn.style_norm",
    "ops.arithmetic",
    "ops.assignment",
    "ops.fft_convolution",
    "ops.transposed_convolution",
    "ops.winograd",
    "optim.clipping",
    "optim.constraints",
    "rl.normalization",
    "video.slowfast",
    "video.two_stream",
]
"""Figures that the slow tier draws again; the weekly tier draws all of them."""


@pytest.mark.slow
@pytest.mark.weekly(unless=DRAWN_OFTEN)
@pytest.mark.parametrize("page", _drawn_pages())
def test_the_figure_of_a_technique_is_drawn_again(page, tmp_path):
    """As it is in the gallery, up to rounding by another processor."""
    assert gallery.main(["--figures", page, f"--out={tmp_path}"]) == 0
    found, known = (
        np.asarray(Image.open(folder / "figures" / f"{page}.webp").convert("RGB").resize((90, 60)), float) / 255
        for folder in (tmp_path, gallery.GALLERY)
    )
    assert np.abs(found - known).mean() < 0.02  # two figures differ by 0.036 and more


def test_a_page_without_a_figure_is_refused(tmp_path, capsys):
    assert gallery.main(["--figures", "nn.nothing", "nothing.rotary", f"--out={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert "figures='nn.nothing': no file docs/figures/nn/nothing.py" in said
    assert "figures='nothing.rotary': no file docs/figures/nothing/rotary.py" in said
    assert not list(tmp_path.iterdir())


def test_imports_are_found_through_packages(site, monkeypatch):
    text = "from dlcore import losses as l\nfrom dlcore.nn import Dropout\nimport numpy\nl.nt_xent_loss(z)\n"
    monkeypatch.setattr(
        site.usage, "parse", lambda path: ast.parse(text if path == "a.py" else (ROOT / path).read_text())
    )
    found = site.usage.imported_modules("a.py")
    assert {"dlcore.losses.contrastive", "dlcore.nn.stochastic"} <= found
    assert "dlcore.losses.adversarial" not in found


@pytest.mark.weekly
def test_a_technique_shows_the_picture_of_the_experiment_most_about_it(site, chapters, monkeypatch):
    """The embedding imports PCA and t-SNE and little else; the study of features imports much."""
    pages, shown = site.links.Targets(chapters).entries, set()
    monkeypatch.setattr(site.usage, "picture", lambda entry: f"/{entry.name}" if entry.name in shown else None)

    def chosen(path):
        return getattr(site.usage.pictured(path, pages), "name", None)

    assert chosen("dlcore/classic_ml/tsne.py") is chosen("dlcore/detection/rpn.py") is None
    shown.add("interpretability.feature_space")
    assert chosen("dlcore/classic_ml/tsne.py") == "interpretability.feature_space"
    shown |= {"classic_ml.embedding", "detection.faster_rcnn", "studies.spatial_transformer"}
    assert chosen("dlcore/classic_ml/tsne.py") == "classic_ml.embedding"
    assert chosen("dlcore/detection/rpn.py") == "detection.faster_rcnn"  # which imports it
    assert chosen("dlcore/ops/pooling.py") == "studies.spatial_transformer"
    shown |= {"studies.poolings", "rl.ppo", "studies.ppo"}
    assert chosen("dlcore/ops/pooling.py") == "studies.poolings"  # which has its name
    assert chosen("dlcore/rl/ppo.py") == chosen("experiments/rl/ppo.py") == "rl.ppo"


@pytest.mark.weekly
def test_a_page_names_the_run_of_its_picture(site, chapters, tmp_path, monkeypatch):
    """Its own command, or the experiment that the picture is from."""
    entries = {entry.path: (entry, chapter) for chapter in chapters for entry in chapter.entries}
    targets = site.links.Targets(chapters)
    (tmp_path / "gallery").mkdir()
    monkeypatch.setattr(site.gallery, "DOCS", tmp_path)
    command = "python -m experiments.rl.ppo --seed=3"
    (tmp_path / "gallery" / "rl.ppo.webp").write_bytes(_a_picture(command, "Returns"))
    (tmp_path / "gallery" / "classic_ml.embedding.webp").write_bytes(_a_picture(""))
    drawn = "python -m experiments.gallery --figures nn.rotary"
    (tmp_path / "gallery" / "nn.rotary.webp").write_bytes(_a_picture(drawn, "Angles of four pairs."))
    head = {
        path: "\n".join(site.techniques._head(*entries[path], "", targets))
        for path in ("dlcore/rl/ppo.py", "dlcore/classic_ml/tsne.py", "dlcore/rl/dqn.py", "dlcore/nn/rotary.py")
    }
    assert head["dlcore/nn/rotary.py"].endswith(f"\nAngles of four pairs. The picture is from `{drawn}`.")
    assert head["dlcore/rl/ppo.py"].endswith(f"\nThe picture is the panel “Returns” in the report of `{command}`.")
    page = targets.entries["experiments/classic_ml/embedding.py"]
    assert head["dlcore/classic_ml/tsne.py"].endswith(
        f"(/gallery/classic_ml.embedding.webp)\nThe picture is from [{page.title}](#{page.label})."
    )
    assert "picture" not in head["dlcore/rl/dqn.py"]


def test_the_package_says_one_version():
    import dlcore

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == dlcore.__version__
    assert f"## {dlcore.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]


def test_workflows_and_templates_are_yaml():
    for path in [*(ROOT / ".github").rglob("*.yml")]:
        assert yaml.safe_load(path.read_text()), path


@pytest.mark.slow
@pytest.mark.weekly(unless=["picture"])
@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dlcore/self_supervised/simclr.py", '"""SimCLR, 2020."""\n', "simclr.py: its docstrings have no equation"),
        ("dlcore/self_supervised/simclr.py", '"""SimCLR.\n\n    a = b\n"""\n', "simclr.py: .* no reference"),
        ("dlcore/ops/new.py", '"""News."""\n__all__ = ["f"]\ndef f(): ...\n', r"new\.py: f: a public name without"),
        (
            "docs/gallery/self_supervised.simclr.webp",
            "0" * 60_001,
            r"simclr\.webp: 60001 bytes; allowed: at most 60000",
        ),
        (
            "docs/book/index.md",
            "# [1](../../experiments/results.jsonl#no)\n",
            "results.jsonl#no: the ledger has no such id",
        ),
    ],
    ids=["equation", "reference", "docstring", "picture", "ledger"],
)
def test_the_build_fails_and_names_what_is_wrong(tmp_path, file, text, message):
    """Sphinx itself, on a copy of the repository with one file spoilt."""
    pytest.importorskip("sphinx")
    copy = tmp_path / "copy"
    for folder in ("docs", "dlcore", "experiments", "tests", "launch"):
        ignored = shutil.ignore_patterns("__pycache__", "generated", "goldens", "runs", ".cache")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy(path, copy)
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_text(text)
    done = _sphinx(copy, tmp_path / "site")
    assert done.returncode != 0
    assert re.search(message, done.stderr), done.stderr[-2000:]


def _sphinx(root: Path, site: Path):
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "docs", str(site)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environment)
