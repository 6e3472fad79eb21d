"""A headless Chromium with a page of the playground in it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

WAIT_S = 20
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--window-size=1280,900",
)

T = TypeVar("T")


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A browser with a profile of its own. Its console can be read."""
    assert CHROMIUM is not None
    assert DRIVER is not None
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service(DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """The playground in a browser: what a user does and sees."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        self.url = url

    def open(self, fragment: str = "") -> "Page":
        """Load it anew, and wait until it can be used."""
        self.browser.get("about:blank")  # another fragment alone would load nothing
        self.browser.get(f"{self.url}/{fragment}")
        self.until(lambda: self.one("#model").text)
        return self

    def until(self, holds: Callable[[], T]) -> T:
        """Ask until it is true. Raises `TimeoutException`."""
        return WebDriverWait(self.browser, WAIT_S, poll_frequency=0.05).until(lambda _: holds())

    def one(self, selector: str) -> WebElement:
        """The first element of a CSS selector."""
        return self.browser.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        """Every one."""
        return self.browser.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """What each of them shows, those left out that cannot be seen."""
        return [found.text for found in self.all(selector) if found.is_displayed()]

    def click(self, label: str, *, inside: str = "body") -> None:
        """Press a button that can be seen, by its text."""
        self.browser.find_element("css selector", inside).find_element("xpath", f".//button[.='{label}']").click()

    def set(self, **texts: str) -> None:
        """Write into the controls of parameters, as a user would: their groups are opened."""
        self.browser.execute_script("for (const group of document.querySelectorAll('aside details')) group.open = true")
        for name, text in texts.items():
            control = self.one(f"#parameter-{name}")
            kind = control.get_attribute("type")
            if kind == "checkbox" or control.tag_name == "select":
                control.click() if kind == "checkbox" else control.send_keys(text)
            else:
                control.clear()
                control.send_keys(text)

    def send(self, text: str) -> None:
        """Send a message, and wait until the answer is there or has failed."""
        self.one("#prompt").send_keys(text, Keys.ENTER)
        self.wait_for_answer()

    def wait_for_answer(self) -> None:
        """Until nothing runs."""
        self.until(lambda: self.one("#conversation").get_attribute("aria-busy") == "false")

    def figures(self) -> dict[str, str]:
        """Below the last answer."""
        last = self.all(".turn.assistant")[-1]
        return dict(
            found.text.split("\n")
            for found in last.find_elements("css selector", ".figures div")  # name, value
        )

    def console(self) -> list[str]:
        """What went wrong since the last time it was asked, refusals of the server left out: the page shows those."""
        entries = self.browser.execute("getLog", {"type": "browser"})["value"]
        errors = [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
        return [error for error in errors if "Failed to load resource" not in error]
