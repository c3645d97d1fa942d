"""A browser for the tests that need one: what a reader's fingers and screen meet."""

import shutil

import pytest
from selenium import webdriver


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A Chromium without a window, as wide as a phone; skipped where there is none."""
    driver = shutil.which("chromedriver")
    if not driver:
        pytest.skip("no chromedriver here: the tests in a browser are left out")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    profile = tmp_path_factory.mktemp("browser")
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    phone = {"width": 390, "height": 844, "pixelRatio": 1}
    options.add_experimental_option("mobileEmulation", {"deviceMetrics": phone})
    chromium = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()
