"""Takes the pictures of the playground in docs/images: scripts/screenshots.py --model runs/demo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from assay.model.loading import load_reward_model
from assay.serve.app import create_app

sys.path.append(str(Path(__file__).parents[1] / "tests" / "serve"))

from browsing import chromium, live

IMAGES = Path(__file__).parents[1] / "docs" / "images"
MOST_BYTES = 200_000
PATIENCE = 600_000
"""Milliseconds."""
PICTURES: dict[str, dict[str, Any]] = {
    "playground.png": {"locale": "en-GB", "color_scheme": "light"},
    "playground-dark.png": {"locale": "en-GB", "color_scheme": "dark"},
    "playground-zh.png": {"locale": "zh-CN", "color_scheme": "light"},
}


def take(browser: Any, url: str, path: Path, options: dict[str, Any]) -> None:
    """A picture of the page's own example, scored."""
    context = browser.new_context(viewport={"width": 1180, "height": 860}, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(url, wait_until="networkidle")
    page.click("#example")
    page.click("#score")
    page.wait_for_selector(".matrix")
    page.evaluate("document.activeElement.blur()")
    page.screenshot(path=path)
    context.close()
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{path} has {size} bytes, more than {MOST_BYTES}")
    print(f"{path.name}: {size} bytes")


def main() -> None:
    """Serve a model on a free port, and take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="as in assay serve")
    given = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    served = create_app({"rm": load_reward_model(given.model)})
    with live(served) as url, chromium() as browser:
        for name, options in PICTURES.items():
            take(browser, url, IMAGES / name, options)


if __name__ == "__main__":
    main()
