"""What people wrote: chapters have their parts, and pages of techniques have sentences of their own."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[1] / "docs"
WRITTEN = sorted((DOCS / "techniques").rglob("*.md"))
# Modules without a page of their own, and the page that explains the technique to which each belongs.
PIECES = {
    "backprop.custom_op": "backprop.engine",
    "backprop.layers": "backprop.engine",
    "backprop.mlp": "backprop.engine",
    "classic_ml.linear_training": "classic_ml.linear",
    "classic_ml.mlp": "models.mlp",
    "cost.formulas": "cost.layers",
    "cost.step_flops": "cost.layers",
    "losses.objective": "losses.penalties",
    "nn.conv_pattern": "models.vgg",
    "self_supervised.fill_in": "self_supervised.inpainting",
    "semi_supervised.twin": "semi_supervised.two_streams",
    "sequence.patterns": "nn.recurrent",
}


@pytest.fixture(scope="module")
def site():
    """The modules of the site's extension, some of which need Sphinx."""
    pytest.importorskip("sphinx")
    sys.path.insert(0, str(DOCS))
    names = ("book", "equations", "executed", "gallery", "links", "lookup", "techniques", "text")
    try:
        yield type("Site", (), {name: importlib.import_module(f"site_extension.{name}") for name in names})
    finally:
        sys.path.remove(str(DOCS))
        for name in [name for name in sys.modules if name.split(".")[0] == "site_extension"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def chapters(site):
    return site.book.read_chapters()


def parts_that_lack(text: str) -> list[str]:
    """What a chapter needs and does not have."""
    prose = re.sub(r"^```.*?^```$", "", text.split("\n## Techniques\n")[0], flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^## (.+)$", prose, re.MULTILINE)
    solutions = re.findall(r"^:::\{dropdown\} Solution (\d)$", prose, re.MULTILINE)
    checks = {
        "2,500 words": len(prose.split()) >= 2500,
        "five display equations": prose.count("$$") >= 10,
        "three figures with captions": len(re.findall(r"^:caption: .{60,}$", text, re.MULTILINE)) >= 3,
        "five blocks of code that run": text.count("\n```{run-python}\n") >= 5,
        "five exercises with solutions": solutions == list("12345"),
        **{title: title in titles for title in ("Common mistakes", "Exercises", "What to read next")},
    }
    return [name for name, holds in checks.items() if not holds]


def test_a_chapter_has_its_parts():
    for path in sorted((DOCS / "book").glob("[0-9]*.md")):
        missing = parts_that_lack(path.read_text(encoding="utf-8"))
        assert not missing, f"{path.name}: {missing}"


def test_each_part_of_a_chapter_is_missed():
    text = (DOCS / "book" / "03_optimization.md").read_text(encoding="utf-8")
    for old, new, name in (
        ("\n:caption: ", "\n", "three figures with captions"),
        ("{run-python}", "python", "five blocks of code that run"),
        ("$$", "", "five display equations"),
        ("{dropdown} Solution 5", "{dropdown} Solution 4", "five exercises with solutions"),
        ("## Common mistakes", "## Mistakes", "Common mistakes"),
    ):
        assert parts_that_lack(text.replace(old, new)) == [name]


def paragraphs(path: Path) -> list[str]:
    return [" ".join(part.split()) for part in path.read_text(encoding="utf-8").split("\n\n")]


def faults(path: Path) -> list[str]:
    """What is wrong with the text of a page."""
    title, lead, *rest = paragraphs(path)
    about = " ".join(rest[1 : rest.index("## Equation")])
    equation = rest[rest.index("## Equation") + 1 :]
    checks = {
        "a title such as 'Ddpm'": not re.fullmatch(r"# [A-Z][a-z]{1,3}\d?", title),
        "a paragraph that begins in lower case": not any(part[0].islower() for part in (lead, *rest)),
        "a lead that is no sentence": lead.endswith(".") and len(lead.split()) >= 8,
        "120 to 250 words on what it is for": 120 <= len(about.split()) <= 250,
        "a display equation": any(part.startswith("$$") for part in equation),
        "the name of every symbol": sum(part.count("- $") for part in equation) >= 3,
    }
    return [name for name, holds in checks.items() if not holds]


def test_written_pages_have_their_parts():
    wrong = {name_of(path): found for path in WRITTEN if (found := faults(path))}
    assert not wrong


def test_no_two_written_pages_share_a_paragraph():
    found = {}
    for path in WRITTEN:
        for text in paragraphs(path):
            if len(text.split()) > 6 and not text.startswith("- $"):
                assert found.setdefault(text, path) == path, f"{path} and {found[text]}: {text}"


def test_no_line_begins_with_a_percent_sign():
    """MyST takes such a line for a comment: the words behind it are lost."""
    files = [*(DOCS / "book").glob("*.md"), *WRITTEN, *DOCS.glob("*.md")]
    found = [path.name for path in files if re.search(r"^\s*%", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert not found, "begin these lines with the number: " + ", ".join(found)


def test_the_site_can_draw_every_equation_of_a_written_page(site):
    for path in WRITTEN:
        for display, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", path.read_text(encoding="utf-8"), re.DOTALL):
            site.equations.check(display or inline, path.name)


def test_a_bad_page_is_refused(tmp_path):
    good = (DOCS / "techniques" / "generative" / "ddpm.md").read_text(encoding="utf-8")
    page = tmp_path / "page.md"
    for old, new, name in (
        ("# DDPM\n", "# Ddpm\n", "a title such as 'Ddpm'"),
        ("The aim is", "and the aim is", "a paragraph that begins in lower case"),
        ("- $", "$", "the name of every symbol"),
    ):
        page.write_text(good.replace(old, new))
        assert faults(page) == [name]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(DOCS / "techniques").with_suffix("").parts)


def names_of_pages() -> set[str]:
    return {name_of(path) for path in WRITTEN}


def test_each_page_has_a_figure_that_explains():
    """The costs of its layers explain a model."""
    from experiments.gallery import GALLERY, origin_of

    explained = {path.stem for path in (GALLERY / "figures").glob("*.webp")}
    explained |= {path.stem for path in GALLERY.glob("models.*.webp") if origin_of(path)[0].startswith("dlcore cost")}
    without = sorted(names_of_pages() - explained)
    assert not without, f"no figure of {', '.join(without)}: docs/figures/TOPIC/NAME.py draws one"


def page_faults(names: set[str], pages: set[str], pieces: dict[str, str]) -> list[str]:
    """What is wrong with the pages of the chapters' modules."""
    return [
        *(f"{name}: no page, and not a piece of another technique" for name in sorted(names - pages - pieces.keys())),
        *(f"{name}: a piece, and has a page of its own" for name in sorted(pieces.keys() & pages)),
        *(f"{name}: a piece that no chapter lists" for name in sorted(pieces.keys() - names)),
        *(f"{name}: a piece of {whole}, which has no page" for name, whole in pieces.items() if whole not in pages),
    ]


def test_every_technique_has_a_page_or_is_a_piece_of_one_that_has(chapters):
    entries = [entry for chapter in chapters for entry in chapter.entries]
    names = {entry.name for entry in entries if entry.path.startswith("dlcore/")}
    assert not page_faults(names, names_of_pages(), PIECES)


def test_a_missing_page_and_a_wrong_piece_are_named():
    names, pages, pieces = {"a.one", "a.two", "a.three"}, {"a.one"}, {"a.two": "a.one"}
    assert page_faults(names - {"a.three"}, pages, pieces) == []
    assert page_faults(names, pages, pieces) == ["a.three: no page, and not a piece of another technique"]
    assert page_faults(names, pages, {"a.two": "a.one", "a.three": "a.two"}) == [
        "a.three: a piece of a.two, which has no page"
    ]
    assert page_faults(names, pages | {"a.two", "a.three"}, pieces) == ["a.two: a piece, and has a page of its own"]
    assert page_faults({"a.one"}, pages, pieces) == ["a.two: a piece that no chapter lists"]


def test_a_written_page_belongs_to_a_technique_and_its_links_lead_somewhere(site, chapters):
    names = {entry.name: entry for chapter in chapters for entry in chapter.entries}
    targets = site.links.Targets(chapters)
    for path in WRITTEN:
        entry = names[name_of(path)]
        title, lead, rest = site.techniques.written(entry)
        site.links.rewrite(rest, path.relative_to(DOCS.parent), targets)
        # The site builds its pages elsewhere: a link to a technique names its module.
        assert not re.findall(r"\]\(([^)#:]*\.md)\)", lead + rest), path.name
        assert title
        assert lead


def test_a_written_page_replaces_the_text_that_is_cut_from_the_chapter(site, chapters):
    (chapter,) = [chapter for chapter in chapters if chapter.name == "19_generative"]
    (entry,) = [entry for entry in chapter.entries if entry.name == "generative.ddpm"]
    page = site.techniques._technique(entry, chapter, site.links.Targets(chapters))
    assert "\n# DDPM\n" in page
    assert page.count("## What it is for") == 1
    assert "[GAN](#page-generative-gan)" in page
    assert "[arXiv:2006.11239](https://arxiv.org/abs/2006.11239)" in page


def test_a_page_shows_its_figure_once_and_the_picture_of_a_run_beside_it(site, chapters):
    targets, entries = (
        site.links.Targets(chapters),
        {e.name: (e, chapter) for chapter in chapters for e in chapter.entries},
    )
    for name in ("nn.rotary", "rl.ppo"):
        page = site.techniques._technique(*entries[name], targets)
        head, _, result = page.partition("\n## What a run gives\n")
        assert head.count(f"](/gallery/figures/{name}.webp)") == 1
        assert "/gallery/figures/" not in result
        assert "--figures" not in page
    assert "](/gallery/rl.ppo.webp)" in result
    assert "in the report of `python -m experiments.rl.ppo" in result


def test_a_page_with_other_sections_is_named(site, chapters, tmp_path):
    entry = next(entry for entry in chapters[18].entries if entry.name == "generative.ddpm")
    (tmp_path / "generative").mkdir()
    (tmp_path / "generative" / "ddpm.md").write_text("# DDPM\n\nA sentence.\n\n## Equation\n\n$$x$$\n")
    with pytest.raises(site.book.PageError, match=r"ddpm\.md: .* the sections What it is for, Equation"):
        site.techniques.written(entry, tmp_path)


def test_a_block_runs_in_the_variables_of_its_page(site):
    variables = {}
    assert site.executed.run_block("x = 2\nprint(x)", variables, "page:1") == ("2\n", None)
    assert site.executed.run_block("x + 1", variables, "page:2") == ("", 3)
    with pytest.raises(Exception, match="page:3: NameError: name 'y' is not defined"):
        site.executed.run_block("y", variables, "page:3")
    with pytest.raises(Exception, match="page:4: 13 lines of code; allowed: at most 12"):
        site.executed.run_block("x\n" * 13, variables, "page:4")


def test_a_figure_is_drawn_for_light_and_dark_pages(site):
    figure = Figure()
    figure.subplots().plot([0, 1], color="black")
    light, dark = site.executed.drawings(figure).values()
    assert all(color in light for color in ("#ffffff", "#000000"))
    assert not any(color in dark for color in ("#ffffff", "#000000"))
    assert re.search(r'<svg fill="#ced6dd" ', dark), "words, which have no color of their own, are light"


def test_sources_are_links(site):
    text = "Ho et al. 2020, arXiv:2006.11239 (doi:10.1000/a.b)."
    expected = (
        "Ho et al. 2020, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239) "
        "([doi:10.1000/a.b](https://doi.org/10.1000/a.b))."
    )
    assert site.text.markdown(text) == expected


def test_the_front_page_shows_24_pictures(site, chapters):
    assert site.gallery.front_gallery(chapters).count(":img-top:") == len(set(site.gallery.FRONT)) == 24


def test_the_short_lookups_find_what_sphinx_finds(site, monkeypatch):
    """A name is searched only where some name of the reference ends in its last part."""
    from sphinx.domains.python import ObjectEntry, PythonDomain

    entry = ObjectEntry("page", "id", "function", False)
    data = {"objects": {"dlcore.ops.boxes.iou": entry}, "modules": {}, "version": PythonDomain.data_version}
    env = type("Env", (), {"domaindata": {"py": data}})()
    found, searches = PythonDomain.find_obj, []
    monkeypatch.setattr(PythonDomain, "find_obj", lambda self, *args: searches.append(args) or found(self, *args))
    domain = site.lookup.IndexedPythonDomain(env)
    for name in ("iou", "boxes.iou()", "dlcore.ops.boxes.iou"):
        assert domain.find_obj(env, None, None, name, "func", 1) == [("dlcore.ops.boxes.iou", entry)]
    assert domain.find_obj(env, None, None, "jax.Array", "class", 1) == []
    assert len(searches) == 3
    data["objects"]["dlcore.State"] = ObjectEntry("page", "id", "class", False)
    assert [name for name, _ in domain.find_obj(env, None, None, "State", "class", 1)] == ["dlcore.State"]


def test_the_search_language_stems_as_sphinx_does(site):
    from sphinx.search.en import SearchEnglish

    words = ("Networks", "training", "trained", "training")
    short, sphinx = site.lookup.CachedEnglish({}), SearchEnglish({})
    assert [short.stem(word) for word in words] == [sphinx.stem(word) for word in words]
    assert short.stem.cache_info().hits == 1
