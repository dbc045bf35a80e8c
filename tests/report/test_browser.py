"""A report in a browser: nothing fails, nothing is asked for, nothing sticks out.

Needs Debian's ``chromium`` and ``chromium-driver`` (``apt-get install chromium
chromium-driver``) and selenium.
"""

import shutil

import pytest

from skphonon.report import Report

selenium = pytest.importorskip("selenium.webdriver")
WIDTHS = 400, 1000


@pytest.fixture(scope="module")
def browser():
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = paths[0]
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "force-device-scale-factor=1",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = selenium.ChromeService(executable_path=paths[1])
    driver = selenium.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_is_shown_as_it_should(browser, page, width):
    # a window cannot be as narrow as a telephone, but what it says it is can
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    assert browser.execute_script("return window.innerWidth") == width
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    shown = browser.execute_script(
        "return [...document.images].map(i => i.complete && i.naturalWidth > 0)"
    )
    assert len(shown) >= 4
    assert all(shown)
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map(r => r.name)"
    )
    assert [name for name in asked if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []


def test_a_link_leads_to_its_section(browser, page):
    browser.get(page.as_uri())
    link = browser.find_element("link text", "Phonons")
    link.click()
    assert browser.current_url.endswith("#phonons")


def test_no_report_runs_a_script(browser, tmp_path):
    report = Report("<script>document.title = 'run'</script>", [])
    browser.get(report.save(tmp_path / "report.html").as_uri())
    assert browser.title == "<script>document.title = 'run'</script>"
