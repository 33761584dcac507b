"""The book and the site: every technique stands in one chapter, and what a page lacks is named."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

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
        names = ("book", "links", "techniques", "text", "api", "catalog", "repository")
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


def test_docstrings_become_markdown(site):
    text = "Sum_i of x*y.\n\n    L = sum_i x_i\n\nDo `a_b`:\npython -m x.y --z\n"
    expected = "Sum\\_i of x\\*y.\n\n```text\nL = sum_i x_i\n```\n\nDo `a_b`:\n\n```bash\npython -m x.y --z\n```"
    assert site.text.markdown(text) == expected


def test_pictures_of_the_gallery_are_small_and_belong_to_pages(chapters):
    names = {entry.name for chapter in chapters for entry in chapter.entries}
    for path in (ROOT / "docs" / "gallery").glob("*"):
        assert path.suffix == ".webp", path
        assert path.stem in names, f"{path.name}: no page of this name"
        assert path.stat().st_size <= 60_000, f"{path.name}: {path.stat().st_size} bytes; allowed: 60,000"


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
def test_the_site_builds_offline_without_warnings(tmp_path):
    pytest.importorskip("sphinx")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-q", "docs", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    page = (tmp_path / "site" / "generated" / "techniques" / "semi_supervised.fixmatch.html").read_text()
    assert "FixMatch" in page
    scripts = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page)
    assert not scripts, "a page of the site must work without a network"
