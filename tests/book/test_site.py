"""The pages, as a browser gets them: `make book` or `make test` makes them."""

import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
import yaml
from axe_core_python.selenium import Axe
from bs4 import BeautifulSoup
from pypdf import PdfReader
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from book._ext import pdf, store
from tests.conftest import chromedriver

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PARTS = [page["file"] for part in TOC["parts"] for page in part["chapters"]]
NAMES = [TOC["root"], *PARTS]  # of the pages
HEAVIEST = 6 * 2**20  # bytes of a chapter's page with its pictures
LOADED = {  # what makes a browser fetch something, besides CSS
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src",
    "audio": "src", "embed": "src", "object": "data", "link": "href",
}  # fmt: skip
NOT_LOADED = {"next", "prev", "search", "index", "author", "canonical", "license"}
# Drawings are described apart, code is coloured by pygments; axe never comes back from
# chapter 10's frames, which hold reports.
APART = {"exclude": [["svg"], ["pre"], ["iframe"]]}
LOOK = {"resultTypes": ["violations"]}
INDEX = "searchindex.js", "searchtools.js", "language_data.js"
GONE = (  # what book/_ext/pages.py takes from every page, as far as its patterns fit
    'script[src*="fontawesome.js"], script[type*="widget-state"], '
    'summary[aria-label="Toggle hidden content"], [role="doc-biblioentry"], '
    ".citation-list[role], .highlight :is(.n, .nn, .nx, .p, .pm, .w), "
    'a[href*="zh_"][href$=".html"]:not([lang]), article img:not([loading])'
)
HIDDEN = {"aria-hidden": "true"}
CODE_URL = re.compile(r"""['"]((?:https?:)?//[^'"\s]+)['"]""")
CSS_URL = re.compile(r"""(?:url\(|@import)\s*['"]?([^'")\s;]+)""")


@pytest.fixture(scope="module")
def pages():
    """All pages of the book: path to soup."""
    paths = [path for path in SITE.rglob("*.html") if "_static" not in path.parts]
    assert paths, f"no pages in {SITE}: run `make book` first"
    return {path: BeautifulSoup(path.read_bytes(), "html.parser") for path in paths}


@pytest.fixture(scope="module")
def articles(pages):
    """The book's own part of every page: path to soup."""
    found = {path: page.select_one("article") for path, page in pages.items()}
    found = {path: article for path, article in found.items() if article}
    assert len(found) > len(store.NOTEBOOKS)
    return found


def place(path):
    """Return a page's name as the messages give it."""
    return str(path.relative_to(SITE))


def test_unmarked_code_has_the_colours_that_its_marks_would_give():
    rules = (SITE / "_static" / "pygments.css").read_text()
    for theme in ("light", "dark"):
        colour = f'"{theme}"] .highlight %s{{[^}}]*color: (#\\w+)'
        (text,) = re.findall(colour % "", rules)
        for kind in ("n", "nn", "nx", "p", "pm", "w"):
            assert re.findall(colour % rf"\.{kind} ", rules) == [text], (theme, kind)


def test_no_page_holds_what_it_does_without(pages):
    for path, page in pages.items():
        left = page.select(GONE)
        assert not left, f"{place(path)}: {str(left[0])[:200]}"
        scripts = page.find_all("script", src=True)
        names = {Path(urlsplit(script["src"]).path).name for script in scripts}
        asked = set(INDEX) if path.name == "search.html" else set()
        assert names & set(INDEX) == asked, place(path)
        waited = page.select("head > script[src]:not([defer])")
        assert len(waited) <= 1, f"{place(path)} waits for {waited}"  # for its options


def test_the_theme_brings_no_signs_of_its_own():
    static = SITE / "_static"
    rules = (static / "styles/pydata-sphinx-theme.css").read_text(encoding="utf-8")
    assert "@font-face" not in rules and r'content:"\f' not in rules
    assert not [*static.rglob("fontawesome.js*"), *static.rglob("fa-*.woff2")]


def loaded(page):
    """Yield the addresses that a page makes a browser load (None for inline code)."""
    for tag in page.find_all(list(LOADED)):
        if not NOT_LOADED & set(tag.get("rel", [])):
            yield tag.get(LOADED[tag.name])
    for tag in page.find_all("style"):
        yield from CSS_URL.findall(tag.string or "")
    for tag in page.find_all(style=True):
        yield from CSS_URL.findall(tag["style"])


def local(base, address):
    """Return the file that an address on a page or style sheet points to."""
    path = unquote(urlsplit(address).path)
    return (base.parent / path).resolve() if path else base


def elsewhere(address):
    """Whether an address is on another site."""
    return bool(urlsplit(address).netloc)


def test_every_page_of_the_table_of_contents_is_there(pages):
    names = {place(path) for path in pages}
    assert {f"{name}.html" for name in [*NAMES, "index"]} <= names


def test_no_cell_shows_an_error_or_a_warning(articles):
    for path, article in articles.items():
        bad = article.select(".output.traceback, .output.stderr, .output.error")
        assert not bad, f"{place(path)}: {bad[0].get_text()[:500]}"


def test_no_cell_shows_a_verdict_as_a_bare_string(articles):
    for path, article in articles.items():
        for shown in article.select(".cell_output pre"):
            text = shown.get_text().strip()
            assert not re.fullmatch("'.*'", text), f"{place(path)}: {text}"


def test_every_page_says_what_it_is_about(pages):
    found = {}
    for path, page in pages.items():
        told = page.find("meta", attrs={"name": "description"})
        if path.parent != SITE:  # index, search, genindex
            assert told and 30 < len(told["content"]) < 170, place(path)
            found[told["content"]] = path
            assert page.find("meta", property="og:image")
    assert len(found) > 20  # each its own


def test_no_page_tells_of_the_machine_that_made_it(pages):
    for path in pages:
        text = path.read_text(encoding="utf-8")
        words = (str(ROOT), "unet-book-alone-", "/ipykernel_")
        found = [word for word in words if word in text]
        assert not found, f"{place(path)} holds {found}"


def test_every_link_within_the_book_leads_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for link in page.select("a[href]:not([hidden])"):
            address = urlsplit(link["href"])
            if address.scheme or address.netloc:
                continue
            target = local(path, link["href"])
            anchor = unquote(address.fragment)
            there = target.is_file()
            if there and anchor and target in pages:
                there = pages[target].find(attrs={"id": anchor}) is not None
            if not there:
                broken.append(f"{place(path)}: {link['href']}")
    assert not broken, "\n".join(sorted(set(broken)))


def test_every_picture_is_described(articles):
    for path, article in articles.items():
        for image in article.find_all("img"):
            alt = image.get("alt", "").strip()
            named = alt and not re.search(r"\.(png|svg|jpe?g|gif)$|_images/", alt)
            assert named, f"{place(path)}: {image.get('src')[:80]} has alt {alt!r}"
        for svg in article.find_all("svg"):
            if svg.get("aria-hidden") == "true" or svg.find_parent(attrs=HIDDEN):
                continue
            labels = ("aria-label", "aria-labelledby")
            named = any(svg.get(label) for label in labels) or svg.find("title")
            assert named, f"{place(path)}: an svg without title or aria-label"


def test_nothing_is_loaded_from_another_site(pages):
    found = set()
    for path, page in pages.items():
        bad = [address for address in loaded(page) if address and elsewhere(address)]
        found |= {f"{place(path)}: {address}" for address in bad}
        for script in page.find_all("script", src=False):
            found |= {f"{place(path)}: {u}" for u in re.findall(CODE_URL, script.text)}
    for sheet in SITE.rglob("*.css"):
        addresses = CSS_URL.findall(sheet.read_text(encoding="utf-8"))
        found |= {f"{place(sheet)}: {a}" for a in addresses if elsewhere(a)}
    assert not found, "\n".join(sorted(found))


def test_everything_loaded_is_there(pages):
    missing = set()
    for path, page in pages.items():
        for address in loaded(page):
            if address and not address.startswith(("data:", "http")):
                if not local(path, address).is_file():
                    missing.add(f"{place(path)}: {address}")
    assert not missing, "\n".join(sorted(missing))


def test_every_page_fits_a_phone_and_its_scripts_run(pages, browser):
    wide, logged = {}, {}
    for path in pages:
        browser.get(path.as_uri())
        width = browser.execute_script("return document.documentElement.scrollWidth")
        if width > 390:
            wide[place(path)] = width
        if lines := [row["message"] for row in browser.get_log("browser")]:
            logged[place(path)] = lines
    assert not wide, f"wider than 390 px: {wide}"
    assert not logged, f"the browser complains: {logged}"


@pytest.mark.parametrize(
    ("query", "page"),
    [("overlap-tile", "book/glossary.html"), ("裁切", "book/zh_tw.html")],
)
def test_search_shows_excerpts_and_leads_to_the_place(pages, browser, query, page):
    """Without a server, and of Chinese words."""
    browser.get(f"{(SITE / 'search.html').as_uri()}?q={quote(query)}")
    WebDriverWait(browser, 30).until(
        lambda _: browser.find_elements(By.CSS_SELECTOR, "#search-results .context")
    )
    found = {}
    for item in browser.find_elements(By.CSS_SELECTOR, "ul.search li"):
        address = item.find_element(By.TAG_NAME, "a").get_attribute("href")
        found[urlsplit(address).path] = urlsplit(address).fragment, item.text
    section, text = found[urlsplit((SITE / page).as_uri()).path]
    assert pages[SITE / page].find(id=section) and query in text
    assert not browser.get_log("browser")


def test_a_word_shows_its_entry_in_the_glossary(pages, browser):
    path = SITE / "notebooks" / "02_unet.html"
    browser.get(path.as_uri())
    word = browser.find_element(By.CSS_SELECTOR, "a[data-entry]")
    browser.execute_script("arguments[0].focus()", word)
    entry = browser.find_element(By.CLASS_NAME, "entry")
    name = urlsplit(word.get_attribute("href")).fragment
    place = pages[SITE / "book" / "glossary.html"].find(id=name)
    assert "".join(entry.text.split()) in "".join(place.get_text().split())
    box = entry.rect
    assert entry.text and box["x"] >= 0 and box["x"] + box["width"] <= 390


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", [*NAMES, "index", "search"])
def test_no_page_shuts_a_reader_out(browser, name, theme):
    """As far as a program can tell: axe, on a phone."""
    browser.set_script_timeout(300)
    browser.get((SITE / f"{name}.html").as_uri())
    paint = "document.documentElement.dataset.theme = arguments[0]"
    browser.execute_script(paint, theme)
    found = []
    for broken in Axe().run(browser, APART, LOOK)["violations"]:
        if broken["impact"] in ("serious", "critical"):
            found.append(f"{broken['help']}: {broken['nodes'][0]['html'][:200]}")
    assert not found, "\n".join(found)


def test_the_ledger_holds_every_verdict_once(pages):
    def verdicts(paths):
        return sorted(box["id"] for p in paths for box in pages[p].select(".verdict"))

    told = verdicts(SITE.glob("notebooks/*.html"))
    assert verdicts([SITE / "book" / "ledger.html"]) == told == sorted(set(told)) != []


def test_no_chapter_is_heavy_to_load(pages, closing):
    closing(f"\n{'chapter':24}{'MiB page':>10}")
    for notebook in store.NOTEBOOKS:
        page = SITE / "notebooks" / f"{notebook.stem}.html"
        images = [image["src"] for image in pages[page].select("article img")]
        files = {page} | {local(page, src) for src in images if "data:" not in src}
        weight = sum(file.stat().st_size for file in files)
        closing(f"{notebook.stem:24}{weight / 2**20:10.1f}")
        assert weight < HEAVIEST, notebook.stem


@pytest.mark.parametrize("chapter", [notebook.stem for notebook in store.NOTEBOOKS])
def test_figures_of_a_chapter_open_large(browser, chapter):
    browser.get((SITE / "notebooks" / f"{chapter}.html").as_uri())
    figures = browser.find_elements(By.CSS_SELECTOR, ".cell_output > * > img")
    opening = browser.find_elements(By.CSS_SELECTOR, ".large-open > img")
    assert figures == opening
    assert opening or chapter == "09_real_pictures"  # which has charts alone


def test_a_page_to_print_shows_its_answers(browser):
    page = (SITE / "notebooks" / "00_segmentation.html").as_uri()
    folded = "details:not(.hide):not([open])"
    browser.get(page)
    assert browser.find_elements(By.CSS_SELECTOR, folded)
    browser.get(f"{page}?answers")
    assert not browser.find_elements(By.CSS_SELECTOR, folded)


@pytest.mark.parametrize("name", ["cheat_sheet", "zh_cheat_sheet"])
def test_a_cheat_sheet_is_one_sheet(tmp_path, name):
    chromedriver()  # which comes with a Chromium
    pdf.print_page(pdf.chromium(), SITE / "book" / f"{name}.html", tmp_path / "a.pdf")
    assert len(PdfReader(tmp_path / "a.pdf").pages) == 1


def test_the_ledger_shows_the_claims_of_a_network(browser):
    browser.get((SITE / "book" / "ledger.html").as_uri())
    rows = ".all-verdicts tbody tr"
    every = browser.find_elements(By.CSS_SELECTOR, rows)
    choice = browser.find_element(By.CSS_SELECTOR, "select[name=networks]")
    Select(choice).select_by_visible_text("V-Net")
    shown = [row for row in every if row.is_displayed()]
    assert 0 < len(shown) < len(every)
    assert all("V-Net" in row.get_attribute("data-networks") for row in shown)
