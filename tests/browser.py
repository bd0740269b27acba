"""A headless browser, and a page in it with what a user sees and does."""

import base64
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

DESKTOP, FRAME, PHONE = (1280, 720), (830, 700), (390, 844)


def launched(profile: Path) -> Iterator[Any]:
    """A driver of Chromium without a window; skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium, which drives the browser, is not installed")
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("chromium and chromedriver are not installed: the page is not opened")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


class Page:
    """A page that is open, with what a user sees and does."""

    def __init__(
        self, browser: Any, file: Path, size: tuple[int, int] = DESKTOP, still: bool = False, link: str = ""
    ) -> None:
        self.browser = browser
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        motion = [{"name": "prefers-reduced-motion", "value": "reduce" if still else ""}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": motion})
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(file.as_uri() + link)

    def ask(self, script: str) -> Any:
        return self.browser.execute_script(f"return {script}")

    def wait(self, script: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self.ask(script):
            assert time.monotonic() < deadline, f"{script} does not come true"
            time.sleep(0.02)

    def find(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def time(self) -> str:
        return str(self.find("#time").text)

    def points(self, canvas: str = "scene") -> bytes:
        """The pixels of a scene."""
        return self.picture(self.ask(f"document.getElementById('{canvas}').toDataURL('image/png')")).tobytes()

    def picture(self, url: str) -> Any:
        """A data URL as an array [height, width, 4]."""
        return imread(io.BytesIO(base64.b64decode(url.split(",")[1])))

    def inked(self) -> float:
        """The share of the scene that is not background."""
        alpha = memoryview(self.points()).cast("f")[3::4]
        return sum(value > 0 for value in alpha) / len(alpha)

    def press(self, key: str, selector: str = "body") -> None:
        self.find(selector).send_keys(key)

    def pull(self, start: tuple[float, float], way: tuple[float, float]) -> None:
        """Drag with the mouse from a place of the window."""
        x, y = start
        for kind, share in (("mouseMoved", 0.0), ("mousePressed", 0.0), ("mouseMoved", 0.5), ("mouseMoved", 1.0)):
            self._mouse(kind, x + share * way[0], y + share * way[1])
        self._mouse("mouseReleased", x + way[0], y + way[1])

    def _mouse(self, kind: str, x: float, y: float) -> None:
        buttons = {"button": "left", "buttons": 1, "clickCount": 1} if kind != "mouseMoved" else {"buttons": 1}
        self.browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **buttons})

    def complaints(self) -> list[Any]:
        return [entry for entry in self.browser.get_log("browser") if entry["level"] != "DEBUG"]
