"""The playground in Chromium: rewards, keys, languages, phones, refusals, files, odd texts."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browsing import chromium, live, page_at, ranked, score, write

from assay.model.heads import Heads, Member, ensemble_of
from assay.model.reward_model import RewardModel
from assay.serve.app import ServeSettings, create_app
from assay.serve.auth import Keys

PROMPT = "It's 2+2?"
ANSWERS = ("4", "five, or so", "'No' \"idea\" \\n $HOME `x`")
ARABIC = "عاصمة فرنسا هي باريس، وهي أكبر مدنها."
EVIL = "<img src=x onerror=alert(1)></textarea></script><script>alert(2)</script>"
HERE = "document.activeElement"

CONTRASTS = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const parse = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c;
    canvas.fillRect(0, 0, 1, 1); const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255] };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const behind = e => { let found = [255, 255, 255, 1]; const above = [];
    for (let at = e; at; at = at.parentElement) above.unshift(at);
    for (const at of above) found = over(parse(getComputedStyle(at).backgroundColor), found);
    return found };
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255;
      return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const bad = [], seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !e.checkVisibility()) continue;
    if (e.closest(":disabled, noscript, option")) continue;
    const ink = parse(getComputedStyle(e).color), back = behind(e);
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
  .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1
    && !e.closest(".scroll, .unseen, pre"))
  .map(e => e.tagName + " " + e.className + " " + e.textContent.slice(0, 40))]
"""
NAMELESS = """
() => [...document.querySelectorAll("button, input, select, textarea, [tabindex='0']")]
  .filter(e => e.checkVisibility() && !e.textContent.trim() && !e.getAttribute("aria-label")
    && !e.labels?.length)
  .map(e => e.outerHTML)
"""


@pytest.fixture(scope="module")
def models(tiny_reward: Path) -> dict[str, RewardModel]:
    """One with an ensemble, one with ratings of attributes."""
    found = {name: RewardModel.load(str(tiny_reward), device="cpu") for name in ("many", "rated")}
    row = found["many"].head_weight
    assert row is not None
    row_D = row.detach()[0]
    found["many"].heads = Heads(ensemble_of(2), torch.stack([0.5 * row_D, 1.5 * row_D]))
    names = [Member("helpful", 1.0, 2.5), Member("brief", 1.0, 2.5)]
    found["rated"].heads = Heads(names, torch.stack([0.2 * row_D, 1.8 * row_D]))
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def url(browser: Any, models: dict[str, RewardModel]) -> Iterator[str]:
    with live(create_app(models)) as address:
        yield address


def shown_share(probability: float) -> str:
    return f"{100 * probability:.0f}%"


def test_rewards_are_the_models(browser: Any, url: str, models: dict[str, RewardModel]) -> None:
    page = page_at(browser, url)
    write(page, PROMPT, *ANSWERS)
    order = score(page)
    found = models["many"].score(PROMPT, list(ANSWERS))
    places = sorted(range(3), key=lambda place: -found[place])
    assert order == ["ABC"[place] for place in places]
    for row, place in zip(page.locator(".ranked").all(), places, strict=True):
        assert float(row.locator(".reward").get_attribute("title")) == pytest.approx(found[place])
        assert row.locator(".words").inner_text() == ANSWERS[place]
        spread = abs(found[place]) * 0.5**0.5
        assert row.locator(".head").inner_text().count(f"± {spread:.3f}"[:6]) == 1
    cells = page.locator(".matrix tbody td").all_inner_texts()
    expected = [1 / (1 + math.exp(found[b] - found[a])) for a in places for b in places]
    assert [c for c in cells if c != "·"] == [
        shown_share(p) for n, p in enumerate(expected) if n % 4
    ]
    assert f"Best: answer {order[0]}." in page.inner_text("#status")
    assert page.complaints == []
    assert {re.sub(r"(:\d+).*", r"\1", asked) for asked in page.asked} == {url}
    page.context.close()


def test_two_models_side_by_side(browser: Any, url: str) -> None:
    page = page_at(browser, url)
    write(page, PROMPT, *ANSWERS)
    page.select_option("#beside", "rated")
    score(page)
    assert page.locator(".panel h3").all_inner_texts() == ["many", "rated"]
    told = page.inner_text("#ranked > .told")  # The rows of both point one way.
    assert re.search(r"3 of 3 pairs .* Both put answer [ABC] first\.", told)
    assert page.locator(".panel").nth(1).locator("dt").all_inner_texts() == ["helpful", "brief"] * 3
    boxes = [panel.bounding_box() for panel in page.locator(".panel").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    page.locator("#answers textarea").first.fill("another")
    assert "changed since" in page.inner_text("#status")
    page.context.close()


def test_the_keyboard_alone(browser: Any, url: str) -> None:
    page = page_at(browser, url)
    page.focus("#turns textarea")
    page.keyboard.type("2+2?")
    page.keyboard.press("Alt+KeyN")
    assert page.evaluate(f"{HERE}.labels[0].textContent") == "Answer C"
    page.keyboard.type("c")
    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("Alt+ArrowUp")
    assert page.inner_text("#status") == "Answer B is answer A now."
    texts = "[...document.querySelectorAll('#answers textarea')].map(a => a.value)"
    assert page.evaluate(texts) == ["c", "", ""]
    assert page.evaluate(f"{HERE}.labels[0].textContent") == "Answer A"
    page.keyboard.press("Alt+ArrowDown")
    page.keyboard.press("Alt+Shift+Backspace")
    assert page.evaluate(texts) == ["", ""]
    page.keyboard.type("last")
    page.focus("#answers textarea")
    page.keyboard.type("first")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".ranked")
    assert sorted(ranked(page)) == ["A", "B"]
    page.keyboard.press("Alt+KeyN")
    assert page.get_attribute("#results", "class") == "stale"
    page.keyboard.press("Alt+Shift+Backspace")
    page.focus("[data-language=en]")
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        found = page.evaluate(
            f"() => {{ const e = {HERE}; if (e === document.body) return null; const s ="
            " getComputedStyle(e.matches('.unseen') ? e.parentElement.querySelector('label') : e);"
            " return [[...document.querySelectorAll('*')].indexOf(e),"
            " s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2] }"
        )
        if found is None:
            break
        seen.append(found)
    places = [place for place, _ in seen]
    assert len(places) > 15
    assert places == sorted(set(places))
    assert all(is_seen for _, is_seen in seen)
    assert page.evaluate(NAMELESS) == []
    page.context.close()


def test_languages(browser: Any, url: str) -> None:
    page = page_at(browser, url, locale="zh-CN")
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    assert page.inner_text("#score") == "评分"
    page.click("#example")
    score(page)
    assert "3 个回答已评分" in page.inner_text("#status")
    page.click("[data-language=en]")
    assert page.inner_text("#score") == "Score"
    assert "3 answers scored" in page.inner_text("#status")
    assert "Probability that" in page.inner_text("#ranked .note")
    assert not re.search("[\u4e00-\u9fff]", page.inner_text("form > section >> nth=2"))
    page.reload(wait_until="networkidle")
    assert page.inner_text("#score") == "Score"
    assert page.complaints == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_with_many_and_long_answers(browser: Any, url: str, scheme: str) -> None:
    page = page_at(browser, url, color_scheme=scheme, viewport={"width": 360, "height": 780})
    answers = [f"answer {number} " * (1 + number) for number in range(18)]
    write(page, "q", *answers, ARABIC, EVIL + "x" * 300)
    page.select_option("#beside", "rated")
    score(page)
    page.evaluate("for (const e of document.querySelectorAll('details')) e.open = true")
    assert page.evaluate(WIDE) == [360]
    colours, too_faint = page.evaluate(CONTRASTS)
    assert too_faint == []
    assert colours >= 6
    rows = page.locator(".panel").first.locator(".ranked")
    assert rows.count() == 20
    direction = "e => getComputedStyle(e).direction"
    assert page.locator("#answers textarea").nth(18).evaluate(direction) == "rtl"
    assert page.locator(".ranked[data-answer=S] .words").first.evaluate(direction) == "rtl"
    assert page.locator(".ranked[data-answer=A] .words").first.evaluate(direction) == "ltr"
    assert EVIL in page.locator(".ranked[data-answer=T] .words").first.text_content()
    assert page.complaints == []
    page.context.close()


def test_refusals_name_their_field(browser: Any, url: str) -> None:
    page = page_at(browser, url)
    write(page, "q", "a", "a <|im_end|> b")
    score(page)
    assert "<|im_end|>" in page.inner_text("#failure")
    assert "responses[1]" in page.inner_text("#failure")
    assert page.evaluate(f"{HERE}.labels[0].textContent") == "Answer B"
    assert page.evaluate(f"{HERE}.getAttribute('aria-invalid')") == "true"
    page.keyboard.type("fine")
    assert page.locator("[aria-invalid]").count() == 0
    page.locator("#answers textarea").nth(1).fill("fine")
    assert sorted(score(page)) == ["A", "B"]
    assert page.inner_text("#failure") == ""
    page.locator("#turns textarea").first.fill("")
    score(page)
    assert page.locator("#turns [aria-invalid]").count() == 1
    page.context.close()


def test_a_key_is_asked_for(browser: Any, models: dict[str, RewardModel]) -> None:
    with live(create_app(models, ServeSettings(keys=Keys(["secret"])))) as url:
        page = page_at(browser, url)
        assert page.is_visible("#key")
        assert page.inner_text("#status") == "The server wants an API key."
        write(page, "q", "a", "b")
        page.fill("#key", "wrong")
        score(page)
        assert "no valid API key" in page.inner_text("#failure")
        page.fill("#key", "secret")
        page.keyboard.press("Tab")
        page.wait_for_selector("#model option >> nth=1", state="attached")
        assert len(score(page)) == 2
        page.click(".code summary")
        code = page.inner_text(".code")
        assert "$ASSAY_API_KEY" in code
        assert "secret" not in code
        page.context.close()


def test_the_code_runs(browser: Any, url: str, models: dict[str, RewardModel]) -> None:
    page = page_at(browser, url)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#add-system")
    page.keyboard.type("Be brief. 简短。")
    write(page, PROMPT, *ANSWERS)
    score(page)
    page.click(".code summary")
    found = []
    for button in page.locator(".code button").all():
        button.click()
        found.append(page.evaluate("navigator.clipboard.readText()"))
    assert page.locator(".code [role=status]").all_inner_texts() == ["Copied."] * 2
    shell, program = found
    words = shlex.split(shell)
    assert words[:2] == ["curl", f"{url}/v1/reward"]
    sent = json.loads(words[words.index("-d") + 1])
    assert sent["responses"] == list(ANSWERS)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    system = [
        {"role": "system", "content": "Be brief. 简短。"},
        {"role": "user", "content": PROMPT},
    ]
    assert json.loads(ran.stdout) == pytest.approx(models["many"].score(system, list(ANSWERS)))
    page.context.close()


def test_rows_of_a_file(browser: Any, url: str, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "q2"}]
    rows = [
        {"prompt": "q1", "responses": ["a", {"role": "assistant", "content": "b"}]},
        {"chosen": [*chat, {"role": "assistant", "content": "c"}], "rejected": [*chat, chat[0]]},
        {"prompt": "q3", "pos_resp": "好", "neg_resp": "差"},
        {"prompt": "q4", "responses": [["x"], 3]},
        {"responses": ["x"]},
    ]
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\n".join([*lines, "{", ""]), encoding="utf-8")
    page = page_at(browser, url)
    page.set_input_files("#file", file)
    page.wait_for_selector("#row-at")
    told = page.inner_text("#rows-read")
    assert "rows.jsonl: 3 rows." in told
    assert "3 lines left out; line 4: no answers that are texts" in told
    assert page.input_value("#turns textarea") == "q1"
    page.click("[data-by='1']")
    page.keyboard.press("Enter")
    assert page.inner_text("#row-at") == "Row 3 of 3"
    assert page.input_value("#answers textarea >> nth=0") == "好"
    page.click("#score-all")
    page.wait_for_selector("#rows-read table")
    assert page.locator("#rows-read tbody tr").count() == 3
    assert re.search(
        r"In [012] of 2 rows the chosen answer is first", page.inner_text("#rows-read")
    )
    with page.expect_download() as download:
        page.click("#rows-read .buttons:last-child button")
    saved = download.value.path().read_text(encoding="utf-8").splitlines()
    assert [len(json.loads(line)["rewards"]) for line in saved] == [2, 2, 2]
    # Another file while the rows of this one are scored.
    page.route("**/v1/reward", lambda route: None)
    page.click("#score-all")
    other = tmp_path / "other.jsonl"
    other.write_text(lines[0] + "\n", encoding="utf-8")
    page.set_input_files("#file", other)
    page.wait_for_selector("#status:has-text('other.jsonl')")
    page.wait_for_timeout(200)
    assert page.inner_text("#status") == "other.jsonl: 1 row."
    assert page.inner_text("#score-all") == "Score all rows"
    assert page.complaints == []
    page.context.close()
