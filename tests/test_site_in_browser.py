"""The built site: its links, and what a reader's browser makes of it on a screen and on a phone."""

import fcntl
import functools
import html
import http.server
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

from experiments import gallery

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = (
    "index.html",
    "techniques.html",
    "generated/api/generative.html",
    "generated/api/index.html",
    "generated/catalog.html",
    "generated/experiments/studies.occam.html",
    "generated/flags.html",
    "generated/house.html",
    "generated/results.html",
    "generated/techniques/ops.nms.html",
    "generated/topics/detection.html",
    "notebooks/chapter_19_generative.html",
    *(f"book/{path.stem}.html" for path in sorted((DOCS / "book").glob("*.md"))),
    *(f"generated/techniques/{path.parent.name}.{path.stem}.html" for path in sorted(DOCS.glob("techniques/*/*.md"))),
)
CLIPPED = """() => [...document.querySelectorAll("article *")].filter((part) => {
  const style = getComputedStyle(part);
  return part.clientWidth > 1 && part.scrollWidth > part.clientWidth + 1 && !/auto|scroll/.test(style.overflowX)
    && style.display !== "inline" && !part.closest("svg, mjx-container") && !part.matches("span.math");
}).map((part) => `${part.tagName} ${part.className}: ${part.textContent.trim().slice(0, 60)}`)"""
"""What is wider than its box, where the box does not scroll."""
WRONG_EQUATIONS = """() => [...document.querySelectorAll("article .math")].filter((part) => {
  const drawn = part.querySelector("mjx-container > svg");
  if (!drawn || part.querySelector("[data-mjx-error]")) return true;
  if (part.tagName !== "DIV") return false;
  const [box, inside] = [part.getBoundingClientRect(), drawn.getBoundingClientRect()];
  return inside.width < box.width && Math.abs(inside.left + inside.right - box.left - box.right) > 4;
}).map((part) => part.textContent.trim().slice(0, 60))"""
"""Equations that MathJax did not draw, or not in the middle of the page."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site: that of $DLCORE_SITE, or the one that the first worker builds."""
    if "DLCORE_SITE" in os.environ:
        return Path(os.environ["DLCORE_SITE"])
    for module in ("sphinx", "mathjax"):
        pytest.importorskip(module, reason="pip install -e '.[docs-test]'")
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with (folder / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "site" / "objects.inv").exists():
            command = [sys.executable, "-m", "sphinx", "-W", "-q", "docs", str(folder / "site")]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
            assert done.returncode == 0, done.stderr[-2000:]
    return folder / "site"


@pytest.fixture(scope="module")
def browser():
    """A chromium, by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[docs-test]'")
    with playwright.sync_playwright() as session:
        try:
            chromium = session.chromium.launch(executable_path=gallery.chromium())
        except playwright.Error as error:
            pytest.skip(f"no chromium: {error}")
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(built):
    """Where the site is served."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=built))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.slow
def test_the_site_builds_offline_without_warnings(built):
    page = (built / "generated" / "techniques" / "semi_supervised.fixmatch.html").read_text()
    assert "FixMatch" in page
    scripts = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page)
    assert not scripts, "a page of the site must work without a network"


@pytest.mark.slow
def test_links_inside_the_site_lead_somewhere(built):
    pages = {path: path.read_text(encoding="utf-8") for path in built.rglob("*.html") if "_static" not in path.parts}
    names = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    broken = set()
    for path, text in pages.items():
        for link in re.findall(r'<(?:a|img|link|script)\b[^>]*?\s(?:href|src)="([^"]+)"', text):
            file, _, anchor = html.unescape(link).partition("#")
            file = urllib.parse.unquote(file.partition("?")[0])
            if re.match(r"[a-z]+:", file):
                continue
            target = (path.parent / file).resolve() if file else path
            if not target.exists() or (
                anchor and target in names and urllib.parse.unquote(anchor) not in names[target]
            ):
                broken.add(f"{path.relative_to(built)}: {link}")
    assert len(pages) > 300
    assert not broken, "\n".join(sorted(broken)[:20])


def failed(url: str, request) -> list[str]:
    """What a failed request says; a page that is left aborts what it still loads, which is nothing missing."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"{url}: {request.url}: {request.failure}"]


@pytest.mark.weekly
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_pages_in_a_browser(browser, address, width, scheme):
    """No error, nothing from elsewhere, nothing clipped, every equation drawn, and colors as the reader wants them."""
    errors = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.on(
        "console", lambda message: errors.append(f"{page.url}: {message.text}") if message.type == "error" else None
    )
    page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
    page.on("requestfailed", lambda request: errors.extend(failed(page.url, request)))
    page.on(
        "request", lambda request: None if request.url.startswith((address, "data:")) else errors.append(request.url)
    )
    for name in PAGES:
        page.goto(f"{address}/{name}", wait_until="load")
        if page.evaluate("document.querySelector('article .math') !== null"):
            page.evaluate("MathJax.startup.promise")
        errors += [f"{name}: equation {text}" for text in page.evaluate(WRONG_EQUATIONS)]
        errors += [f"{name}: clipped {text}" for text in page.evaluate(CLIPPED)]
        if (scroll := page.evaluate("document.documentElement.scrollWidth")) > width:
            errors.append(f"{name}: {scroll} px wide")
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        if (sum(map(int, re.findall(r"\d+", color)[:3])) > 382) != (scheme == "light"):
            errors.append(f"{name}: {color} in {scheme} mode")
    context.close()
    assert not errors, "\n".join(errors)


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("name", "width", "height"),
    [("index", 1400, 4000), ("generated/catalog", 390, 5000), ("generated/results", 390, 5000)],
)
def test_a_page_is_short(browser, address, name, width, height):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(f"{address}/{name}.html", wait_until="load")
    assert page.evaluate("document.documentElement.scrollHeight") <= height
    page.close()


@pytest.mark.weekly
@pytest.mark.parametrize("name", ["catalog", "results"])
def test_a_long_table_opens_by_a_word(browser, address, name):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(f"{address}/generated/{name}.html", wait_until="load")
    rows = page.locator("tbody tr:visible")
    assert rows.count() == 0
    page.fill(".row-filter", "FixMatch")
    assert rows.count() > 0
    assert all("fixmatch" in text.lower() for text in rows.all_inner_texts())
    page.close()


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("FixMatch", "semi_supervised.fixmatch"),
        ("contrastive loss", "losses.contrastive"),
        ("simclr", "self_supervised.simclr"),
        ("DDPM", "generative.ddpm"),
    ],
)
def test_the_search_finds_the_page_of_a_technique_first(browser, address, words, name):
    """And its excerpt begins with the first sentence of the page."""
    page = browser.new_page()
    page.goto(f"{address}/search.html?q={urllib.parse.quote(words)}")
    page.wait_for_selector("#search-results li p.context", timeout=60_000)
    found = page.locator("#search-results li").first
    assert found.locator("a").get_attribute("href") == f"generated/techniques/{name}.html"
    excerpt = found.locator("p.context").inner_text()
    page.goto(f"{address}/generated/techniques/{name}.html")
    assert page.locator("article p").first.inner_text().startswith(excerpt.rstrip("…")[:60])
    page.close()


@pytest.mark.slow
def test_the_sidebar_has_the_book_the_topics_and_then_the_reference(built):
    captions = re.findall(r'class="caption-text">(\w+)<', (built / "index.html").read_text(encoding="utf-8"))
    assert captions == ["Book", "Topics", "Guide", "Reference"]
