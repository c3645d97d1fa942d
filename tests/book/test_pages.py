"""book/_ext/pages.py and pdf.py: what a page leaves out, and the book as a PDF."""

import base64
import json
import re
from types import SimpleNamespace

import pytest
from pypdf import PdfReader

from book._ext import pages, pdf, store
from helpers import figures
from tests.conftest import chromedriver


def changed(change, body):
    """The body of a page after one change."""
    context = {"body": body}
    change(None, "page", "page.html", context, None)
    return context["body"]


def built(folder):
    """What Sphinx hands over at the end of a build of pages into a folder."""
    return SimpleNamespace(outdir=folder, builder=SimpleNamespace(format="html"))


def test_the_states_of_widgets_leave_a_page_and_its_scripts_stay():
    kind = {"type": "application/vnd.jupyter.widget-state+json", "id": "a"}
    state, other = SimpleNamespace(attributes=kind), SimpleNamespace(attributes={})
    scripts = [state, other]
    context = {"script_files": scripts}
    pages.drop_widget_state(None, "page", "page.html", context, None)
    assert scripts == [other]


def test_pictures_wait_and_those_inside_a_script_stay_as_they_are():
    data = '<script type="application/json">["<img alt=\\"\\">"]</script>'
    body = changed(pages.prepare_pictures, f'<img src="a.png">{data}')
    assert body.startswith(f'<img loading="lazy" src="a.png">{data}')
    assert "largeView" in body  # opens them large
    assert changed(pages.prepare_pictures, "<p>text</p>") == "<p>text</p>"


def test_pictures_inside_a_page_become_files(tmp_path):
    data = base64.b64encode(bytes(range(256)) * 8).decode()
    url = f"data:image/png;base64,{data}"
    frames = json.dumps([f'<img alt="x" src="{url}">'])
    sheet = json.dumps(dict(clean=url))  # for a canvas, which reads no file
    small = '<img src="data:image/png;base64,aaaa">'
    body = f'<img alt="x" src="{url}">{small}<script>{frames}{sheet}</script>'
    app = SimpleNamespace(outdir=tmp_path)
    context = dict(body=body, pathto=lambda path, resource: f"../{path}")
    pages.part_pictures(app, "page", "page.html", context, None)
    (file,) = (tmp_path / pages.PICTURES).iterdir()
    assert file.read_bytes() == bytes(range(256)) * 8
    there = f"../{pages.PICTURES}/{file.name}"
    frames = json.dumps([f'<img alt="x" src="{there}">'])
    first = f'<img alt="x" src="{there}">{small}'
    assert context["body"] == f"{first}<script>{frames}{sheet}</script>"


def test_a_mean_and_its_spread_stay_on_one_line():
    body = changed(pages.keep_spreads_whole, "<td>0.60 ± 0.03</td> the ± is")
    assert body == "<td>0.60\u00a0±\u00a00.03</td> the ± is"


def test_code_marks_only_what_has_a_colour_of_its_own():
    code = '<span class="k">def</span><span class="w"> </span><span class="nf">f</span>'
    body = changed(pages.join_plain_code, f'{code}<span class="p">():</span>')
    assert body == '<span class="k">def</span> <span class="nf">f</span>():'


def test_a_fold_is_called_what_it_says():
    fold = '<summary aria-label="Toggle hidden content"><p>How this was made</p>'
    assert changed(pages.drop_names, fold) == "<summary><p>How this was made</p>"
    cited = '<div role="list" class="citation-list"><div role="doc-biblioentry">'
    assert changed(pages.drop_names, cited) == '<div class="citation-list"><div>'


def test_pages_keep_no_icons_no_index_and_wait_for_no_script(tmp_path):
    static = tmp_path / "_static"
    icons = '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>'
    index = '<script src="../searchindex.js"></script>'
    first = '<script src="../_static/documentation_options.js"></script>'
    other = '<script{} src="../_static/copy.js"></script>'
    body = '</head><body><script src="live.js"></script></body>'
    for name in ("page.html", "search.html"):
        text = f"<head>{first}{other.format('')}{icons}{index}{body}"
        (tmp_path / name).write_text(text)
    rule = '.fa-file:before,.fa-x:before{content:"\\f15b"}.kept:before{content:"x"}'
    face = "@font-face{font-family:Font Awesome\\ 6 Free;src:url(fa-solid-900.woff2)}"
    for name, text in {
        "scripts/fontawesome.js": "icons",
        "fonts/fa-solid-900.woff2": "signs",
        "styles/pydata-sphinx-theme.css": rule + face,
    }.items():
        (static / name).parent.mkdir(parents=True)
        (static / name).write_text(text)
    pages.lighten(built(tmp_path), None)
    page, search = (tmp_path / f"{name}.html" for name in ("page", "search"))
    assert page.read_text() == f"<head>{first}{other.format(' defer')}{body}"
    assert index.replace("<script", "<script defer") in search.read_text()
    kept = [path.name for path in static.rglob("*.*")]
    assert kept == ["pydata-sphinx-theme.css"]
    style = (static / "styles/pydata-sphinx-theme.css").read_text()
    assert style == '.kept:before{content:"x"}'


def test_links_to_chinese_pages_are_chinese(tmp_path):
    page = tmp_path / "page.html"
    other = '<a href="a.html">a</a>'
    page.write_text(f'<a class="x" href="book/zh_tw.html">中文</a>{other}')
    pages.lighten(built(tmp_path), None)
    link = '<a class="x" href="book/zh_tw.html" lang="zh-Hant">中文</a>'
    assert page.read_text() == f"{link}{other}"


def test_a_pdf_has_bookmarks_and_links_that_stay_inside(tmp_path):
    chromedriver()  # which comes with a Chromium
    one, other = tmp_path / "one.html", tmp_path / "other.html"
    away = '<a href="file.zip">a download</a>'
    one.write_text(f'<h1>One</h1><a href="other.html">to the other</a> {away}')
    other.write_text("<h1>Other</h1>")
    pdf.bind([one, other], tmp_path / "book.pdf")
    book = PdfReader(tmp_path / "book.pdf")
    marks = [mark for mark in book.outline if not isinstance(mark, list)]
    assert [mark.title for mark in marks] == ["One", "Other"]
    inner, outer = [link.get_object() for link in book.pages[0]["/Annots"]]
    assert inner["/Dest"][0].get_object() == book.pages[1]
    assert "/A" not in outer and "/Dest" not in outer
    assert bytes(tmp_path) not in (tmp_path / "book.pdf").read_bytes()


def test_the_links_to_the_pdf_are_shown_once_it_is_there(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"{pdf.HIDDEN}>As one PDF</a>")
    pdf.offer([page])
    assert page.read_text() == '<a class="the-pdf" href="../book.pdf">As one PDF</a>'


def test_a_pdf_without_pages_or_chromium_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "SITE", tmp_path)
    with pytest.raises(SystemExit, match=r"has no intro\.html.*run `make book` first"):
        pdf.contents()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="Chromium prints the PDF"):
        pdf.chromium()


def test_a_chromium_that_hangs_is_told_of(tmp_path, monkeypatch):
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\nexec sleep 60\n")
    browser.chmod(0o755)
    monkeypatch.setattr(pdf, "PATIENCE", 0.2)
    with pytest.raises(SystemExit, match=r"hung for 0\.2 s at one\.html: run `make"):
        pdf.print_page(str(browser), tmp_path / "one.html", tmp_path / "one.pdf")


def test_the_style_sheet_has_the_colours_of_the_figures():
    rules = (store.ROOT / "book/_static/book.css").read_text(encoding="utf-8")
    names = dict(base="baseline", fcn="FCN", unet="U-Net", vnet="V-Net")
    names |= dict(resunet="ResUNet", inception="Inception-U-Net", u2net="U2-Net")
    told = {}
    for name, colour in re.findall(r"--net-(\w+): (#\w+);", rules):
        told[names[name]] = colour.upper()
    assert told == figures.COLOURS
