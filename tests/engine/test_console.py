"""The console page in a real browser: what is published, an example, its rows, and no address but the engine's."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.engine.conftest import Api
from tests.engine.tables import METADATA

DRIVER = Path("/usr/bin/chromedriver")
PACKAGES = {
    "graphiql@3.9.0": ("graphiql.min.js", "graphiql.min.css"),
    "react@18.3.1": ("umd/react.production.min.js",),
    "react-dom@18.3.1": ("umd/react-dom.production.min.js",),
}


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """The four files, from npm."""
    if shutil.which("npm") is None:
        pytest.skip("the console's files come from npm, which is not installed")
    folder = tmp_path / "assets"
    folder.mkdir()
    for package, files in PACKAGES.items():
        packed = subprocess.run(["npm", "pack", "--silent", package], cwd=tmp_path, capture_output=True, text=True)
        if packed.returncode:
            pytest.skip(f"{package} cannot be had: no package registry")
        with tarfile.open(tmp_path / packed.stdout.split()[-1]) as archive:
            for name in files:
                source = archive.extractfile(f"package/{name}")
                assert source is not None
                (folder / Path(name).name).write_bytes(source.read())
    return folder


@pytest.mark.skipif(not DRIVER.exists(), reason="needs Debian's chromium and chromium-driver")
def test_in_a_browser(engines: Any, assets: Path, tmp_path: Path) -> None:
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
