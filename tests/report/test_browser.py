"""A browser shows the page on a phone."""

import json
import re
import shutil
import subprocess
import threading
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evaluator.data.dataset import Splits
from tests.report.journals import write_journals
from tests.report.pages import report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0", "--window-size=800,900",
)  # fmt: skip
WATCH = """<!DOCTYPE html><title>watch</title><link rel="icon" href="data:,">
<iframe src="report.html" width="360" height="700" style="border:0"></iframe>
<pre id="found"></pre><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument;
  page.querySelectorAll("details").forEach(one => one.open = true);
  const images = [...page.images];
  const free = [...page.querySelectorAll("body *")].filter(one => !one.closest(".scroll, .skip"));
  const wide = free.filter(one => one.getBoundingClientRect().right > 360.5);
  document.getElementById("found").textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    wide: wide.map(one => one.tagName + ": " + one.textContent.slice(0, 60)),
    images: images.length,
    broken: images.filter(image => !(image.complete && image.naturalWidth)).length,
  });
});</script>"""


def test_page_in_a_browser_fits_a_phone(tmp_path: Path, splits: Splits) -> None:
    """No error in the console, no picture missing, nothing wider than the screen."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is installed")
    names = {
        f"entropy:rounds={i},a_long_name_without_any_break=1": (0.5, 0.6, 0.7) for i in range(5)
    }
    page = report(
        write_journals(
            tmp_path,
            {"random": (0.4, 0.5, 0.6), **names},
            pairs=((5, 1.0), (9, 1.0), (20, 2.0)),
            pipelines=("quick", "organiser"),
        ),
        splits=splits,
    )
    (tmp_path / "watch.html").write_text(WATCH)
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        shown = subprocess.run(
            [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
             f"http://127.0.0.1:{server.server_port}/watch.html"],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    (shown_page,) = re.findall(r'<pre id="found">(.*?)</pre>', shown.stdout)
    found = json.loads(unescape(shown_page))
    assert found["images"] == len(page.all("img")) > 20
    assert found["broken"] == 0
    assert found["wide"] == []
    assert found["width"] <= 360
    assert "CONSOLE" not in shown.stderr
    assert set(asked) - {"/favicon.ico"} == {"/watch.html", "/report.html"}
