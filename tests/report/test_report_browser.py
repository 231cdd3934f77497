"""The page in a browser: on a phone, in both schemes, by keyboard, without scripts and network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_runs import odd_texts, run

from assay.report import ReportOptions, report_command

pytestmark = pytest.mark.slow

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 240_000
"""Milliseconds: other programs may hold all cores."""

CONTRASTS = """
() => {
  const parse = c => { const n = c.match(/[\\d.]+/g).map(Number);
    return n.length < 4 ? [...n, 1] : n };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const behind = e => { let found = [255, 255, 255, 1]; const above = [];
    for (let at = e; at; at = at.parentElement) above.unshift(at);
    for (const at of above) { const s = getComputedStyle(at);
      const colour = parse(s.backgroundColor);
      if (!(at instanceof SVGElement)) found = over(colour, found); }
    return found };
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255;
      return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const bad = [], seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || ["STYLE", "title"].includes(e.tagName)) continue;
    const s = getComputedStyle(e);
    const ink = parse(e instanceof SVGElement ? s.fill : s.color), back = behind(e);
    const key = ink + "/" + back; if (seen.has(key)) continue; seen.add(key);
    const [a, b] = [light(over(ink, back)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(e.tagName + "." + e.className + " " + ratio.toFixed(2));
  }
  return [seen.size, bad];
}
"""
WIDE = """
() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll("body *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .unseen"))
  .map(e => e.tagName + " " + e.textContent.slice(0, 40))]
"""
REACHABLE = """
() => [...document.querySelectorAll("a[href], summary, [tabindex='0']")]
  .filter(e => e.checkVisibility({contentVisibilityAuto: true})).length
"""
FOCUSED = """
() => { const e = document.activeElement; if (e === document.body) return null;
  const s = getComputedStyle(e), all = [...document.querySelectorAll("*")];
  return [all.indexOf(e), s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2] }
"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run whose rows hold what a page stumbles over."""
    made = run(tmp_path_factory.mktemp("report") / "run", texts=odd_texts)
    return report_command(made, ReportOptions(rows=4))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path; CHROMIUM names another place")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE
        )
        yield opened
        opened.close()


def opened(browser: Any, file: Path, **options: Any) -> Any:
    context = browser.new_context(java_script_enabled=True, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.asked = []
    page.complaints = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: page.complaints.append("a dialog"))
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_in_both_schemes(browser: Any, page_file: Path, scheme: str) -> None:
    page = opened(browser, page_file, color_scheme=scheme, viewport={"width": 360, "height": 800})
    for fold in page.query_selector_all("details"):
        fold.evaluate("e => { e.open = true }")
    assert page.evaluate(WIDE) == [360]
    colours, too_faint = page.evaluate(CONTRASTS)
    assert too_faint == []
    assert colours >= 6
    assert page.asked == [page_file.as_uri()]
    assert page.complaints == []
    page.context.close()


def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    browser: Any, page_file: Path
) -> None:
    page = opened(browser, page_file, viewport={"width": 1200, "height": 800})
    expected = page.evaluate(REACHABLE)
    found = []
    for _ in range(expected):
        page.keyboard.press("Tab")
        found.append(page.evaluate(FOCUSED))
    places = [place for place, _ in found]
    assert all(is_seen for _, is_seen in found)
    assert len(set(places)) == expected
    assert places == sorted(places)
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) is None
    page.context.close()


def test_rows_of_other_scripts_run_their_own_way_and_scripts_are_not_needed(
    browser: Any, page_file: Path
) -> None:
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": 1200, "height": 800}
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert "Worst mistakes" in page.inner_text("main")
    tree = page.locator("body").aria_snapshot()
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert f"- {landmark}" in tree
    arabic = page.locator("p.said[lang='und-Arab']").first
    assert arabic.evaluate("e => getComputedStyle(e).direction") == "rtl"
    chinese = page.locator("p.said[lang='zh']").first
    assert chinese.evaluate("e => getComputedStyle(e).direction") == "ltr"
    images = page.get_by_role("img")
    assert images.count() >= 10
    assert all(image.get_attribute("aria-label") for image in images.all())
    context.close()
