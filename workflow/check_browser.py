"""Open every page in a headless Chromium: errors, requests that leave the site, and things too wide.

    python workflow/check_browser.py [_build/html] [--screenshots FOLDER] [--pages PART ...]

Looks at each page on a desktop and on a phone, in the light and in the dark, and both with JavaScript switched off.
Says so and ends with 0 where there is no Chromium.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from places import BUILD
from tornado.websocket import websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--allow-file-access-from-files",
)
#: Name, width and height in CSS px, color scheme, whether JavaScript runs.
VIEWS = (
    ("desktop-light", 1280, 900, "light", True),
    ("desktop-dark", 1280, 900, "dark", True),
    ("phone-light", 390, 844, "light", True),
    ("phone-dark", 390, 844, "dark", True),
    ("desktop-noscript", 1280, 900, "light", False),
    ("phone-noscript", 390, 844, "light", False),
)
#: Elements that stick out of the page's column although nothing around them scrolls.
_WIDE = """(() => {
  const page = document.querySelector('.bd-article') || document.body;
  const scrolls = e => { for (; e && e !== page; e = e.parentElement) {
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)) return true; } return false; };
  const edge = page.getBoundingClientRect().right + 1;
  return [...page.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > edge && !scrolls(e)).slice(0, 3)
    .map(e => e.tagName.toLowerCase() + '.' + String(e.className.baseVal ?? e.className).slice(0, 40));
})()"""


@contextlib.contextmanager
def chromium(program):
    """Run a Chromium with a profile of its own; yields the address of its debugger."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            note = Path(profile) / "DevToolsActivePort"
            for _ in range(300):
                if note.is_file() and note.read_text().strip():
                    break
                time.sleep(0.1)
            else:
                raise RuntimeError(f"{program} does not start")
            yield f"http://127.0.0.1:{note.read_text().split()[0]}"
        finally:
            process.terminate()
            process.wait(20)


class Tab:
    """One tab, driven through the debugger's socket."""

    def __init__(self, socket):
        self._socket, self._number = socket, 0
        self.events = []

    async def call(self, method, **parameters):
        """Send a command and return its result; what happens meanwhile is kept in ``events``."""
        self._number += 1
        await self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await asyncio.wait_for(self._socket.read_message(), 60))
            if message.get("id") == self._number:
                return message.get("result", {})
            self.events.append(message)

    async def until(self, method):
        """Wait for an event."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(json.loads(await asyncio.wait_for(self._socket.read_message(), 60)))

    async def evaluate(self, code):
        """Return the value of a JavaScript expression in the page."""
        result = await self.call("Runtime.evaluate", expression=code, returnByValue=True)
        return result.get("result", {}).get("value")


async def look(tab, url, view, picture=None):
    """Open a page in one view and return what is wrong with it (list of str)."""
    _, width, height, scheme, scripts = view
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    await tab.call("Emulation.setDeviceMetricsOverride", **screen)
    await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await tab.call("Emulation.setScriptExecutionDisabled", value=not scripts)
    tab.events.clear()
    await tab.call("Page.navigate", url=url)
    await tab.until("Page.loadEventFired")
    await asyncio.sleep(0.4)
    problems = await _too_wide(tab) if scripts else []
    if picture is not None:
        # A screen as high as the page: captures beyond the screen shift what is sticky.
        tall = min((await tab.call("Page.getLayoutMetrics"))["cssContentSize"]["height"], 12000)
        await tab.call("Emulation.setDeviceMetricsOverride", **{**screen, "height": int(tall)})
        picture.write_bytes(base64.b64decode((await tab.call("Page.captureScreenshot"))["data"]))
    return problems + [text for event in tab.events if (text := _complaint(event))]


async def _too_wide(tab):
    wide = await tab.evaluate(_WIDE)
    return [f"wider than the column: {', '.join(wide)}"] if wide else []


def _complaint(event):
    """Return what an event says is wrong, or None."""
    method, parameters = event.get("method"), event.get("params", {})
    if method == "Runtime.exceptionThrown":
        details = parameters["exceptionDetails"]
        return f"script error: {details.get('exception', {}).get('description', details['text'])[:200]}"
    if method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
        return f"{parameters['entry']['level']}: {parameters['entry']['text'][:200]}"
    if method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
        return f"console error: {str(parameters['args'])[:200]}"
    if method == "Network.requestWillBeSent":
        url = parameters["request"]["url"]
        if not url.startswith(("file:", "data:", "blob:", "about:")):
            return f"asks the network for {url[:120]}"
    return None


async def look_at_all(debugger, folder, pages, screenshots=None):
    """Look at pages in every view and return all problems.

    Parameters
    ----------
    debugger : str
        From :func:`chromium`.
    folder : pathlib.Path
        The site.
    pages : list of pathlib.Path
        Pages in it.
    screenshots : pathlib.Path, optional
        Folder for pictures of whole pages.
    """
    with urllib.request.urlopen(f"{debugger}/json/list") as answer:
        address = next(tab for tab in json.load(answer) if tab["type"] == "page")["webSocketDebuggerUrl"]
    tab = Tab(await websocket_connect(address, max_message_size=2**28))
    for domain in ("Page", "Runtime", "Log", "Network"):
        await tab.call(f"{domain}.enable")
    problems = []
    for page in pages:
        name = str(page.relative_to(folder).with_suffix(""))
        for view in VIEWS:
            picture = screenshots / f"{name.replace('/', '.')}.{view[0]}.png" if screenshots else None
            found = await look(tab, page.resolve().as_uri(), view, picture)
            problems += [f"{name} ({view[0]}): {problem}" for problem in dict.fromkeys(found)]
    return problems


def main(arguments=None):
    """Look at the pages as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=BUILD / "html")
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of the pages")
    parser.add_argument("--pages", nargs="*", help="only pages whose name contains one of these")
    chosen = parser.parse_args(arguments)
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        print("No Chromium here: the pages were not looked at.")
        return 0
    pages = [path for path in sorted(chosen.folder.rglob("*.html")) if "_static" not in path.parts]
    if chosen.pages:
        pages = [path for path in pages if any(part in str(path) for part in chosen.pages)]
    if chosen.screenshots:
        chosen.screenshots.mkdir(parents=True, exist_ok=True)
    with chromium(program) as debugger:
        problems = asyncio.run(look_at_all(debugger, chosen.folder, pages, chosen.screenshots))
    print("\n".join(problems) if problems else f"{len(pages)} pages, {len(VIEWS)} views each: all in order.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
