"""The console page in a real browser: what is published, an example, its rows, and no address but the engine's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from polyexpose_spark.engine import console_assets
from polyexpose_spark.errors import TargetUnavailable
from tests.engine.conftest import Api
from tests.engine.tables import METADATA
from tests.missing import missing

DRIVER = Path("/usr/bin/chromedriver")


@pytest.fixture
def assets() -> Path:
    """The page's files, as the set-up fetches them."""
    try:
        return console_assets.fetch()
    except TargetUnavailable as error:
        missing(str(error))


def test_in_a_browser(engines: Any, assets: Path, tmp_path: Path) -> None:
    if not DRIVER.exists():
        missing("needs Debian's chromium and chromium-driver")
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    api: Api = engines(secret="s3cret", console_assets=assets)
    api.done("replace_metadata", METADATA)
    options = selenium.ChromeOptions()
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
        "--disable-background-networking", "--disable-sync", "--window-size=1400,900",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = selenium.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        wait = WebDriverWait(browser, 30)
        browser.get(f"{api.url}/console")
        problem = "x-hasura-admin-secret/x-hasura-access-key required, but not found"
        wait.until(lambda found: found.find_element("id", "problem").text == problem)
        browser.find_element("name", "x-hasura-admin-secret").send_keys("s3cret")
        browser.find_element("css selector", "#session button").click()
        wait.until(lambda found: found.find_elements("css selector", "#fields button"))
        names = {each.text: each for each in browser.find_elements("css selector", "#fields button")}
        assert {"hasura_article", "hasura_article_aggregate", "ours_reading"} <= set(names)
        names["hasura_article"].click()
        wait.until(lambda found: "hasura_article(limit: 10)" in found.find_element("id", "graphiql").text)
        browser.find_element("css selector", "button.graphiql-execute-button").click()
        wait.until(lambda found: "Title 1" in found.find_element("css selector", ".result-window").text)
        severe = [each["message"] for each in browser.get_log("browser") if each["level"] == "SEVERE"]
        assert severe == []
        asked = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
        addresses = [
            each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"
        ]
        outside = [each for each in addresses if urlsplit(each).scheme in ("http", "https") and api.url not in each]
        assert outside == []
    finally:
        browser.quit()
