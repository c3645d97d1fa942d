"""What tests of several rooms share: a browser, one thread, memory given back."""

import gc
import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from helpers import memory


def chromedriver():
    """Return the path of chromedriver; where there is none, fail in CI, else skip."""
    driver = shutil.which("chromedriver")
    if not driver and os.environ.get("CI"):
        pytest.fail("no chromedriver here: .ci/run installs it")
    if not driver:
        pytest.skip("no chromedriver here: the tests in a browser are left out")
    return driver


class Browser(webdriver.Chrome):
    """A Chromium whose `get` waits until all is there, on a busy machine as well."""

    def get(self, url):
        """Open a page."""
        super().get(url)
        ready = "return document.readyState == 'complete'"
        WebDriverWait(self, 60).until(lambda browser: browser.execute_script(ready))


def pytest_collection_modifyitems(items):
    """Begin with the longest file, and with what needs most while little is held."""
    first = ("test_bench.py", "test_parallel.py")
    items.sort(key=lambda item: item.path.name not in first)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A Chromium without a window, as wide as a phone."""
    driver = chromedriver()
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
    chromium = Browser(options, webdriver.ChromeService(driver))
    # A window that lies behind another has no focus, and tells pages of none.
    chromium.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    yield chromium
    chromium.quit()


@pytest.fixture(scope="module")
def one_thread():
    """Torch computes with one thread, as where trainings run, and then as before."""
    import torch  # not in the process that only hands out the tests

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_over():
    """What a module's tests drew and started does not stay with their process."""
    yield
    from joblib.externals.loky import get_reusable_executor

    from helpers import data  # not in the process that only hands out the tests

    get_reusable_executor().shutdown()
    data.common_task.cache_clear()
    data.kinds_of_defects.cache_clear()
    gc.collect()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """What a test freed does not stay with its process either."""
    memory.give_back()
