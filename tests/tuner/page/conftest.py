"""A browser, which shows a page as people see it."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def browser_page() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium is installed, which shows a page as people see it")
    from playwright.sync_api import sync_playwright

    args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--enable-unsafe-swiftshader",
            "--disable-background-networking", "--disable-component-update"]  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=args)
        yield browser.new_page(viewport={"width": 390, "height": 800})
        browser.close()
