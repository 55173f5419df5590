"""Screenshots of the README: a small sweep in MLflow, and the activation page.

    make screenshots    (or python -m benchmarks.screenshots [FOLDER], to keep and reuse the runs)

Uses Debian's chromium with a new profile. Writes docs/screenshots/*.png with 256 colors each.
"""

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from src.common.files import PROJECT
from src.tracking.mlflow_server import stop

SCREENSHOTS = PROJECT / "docs" / "screenshots"
SWEEP = ("--multirun", "hidden=32,64,128", "lr=2e-3,1e-2", "max_epochs=2")
# With capitals, punctuation and lines as features.
UNITS = (
    "model=gru", "seq_len=50", "batching=contiguous", "stateful=true", "max_epochs=25",
    "data.letters_only=false", "data.lowercase=false",
)  # fmt: skip
PATIENCE = 120_000  # milliseconds


def trained(folder: Path, arguments: tuple[str, ...]) -> None:
    """Run `python -m src.train` with its outputs in `folder`, unless they exist."""
    if not (folder / "finished").exists():
        places = [f"output_dir={folder}", f"data_dir={folder / 'data'}"]
        subprocess.run([sys.executable, "-m", "src.train", *arguments, *places], cwd=PROJECT, check=True)
        (folder / "finished").touch()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Run the MLflow UI on `folder`; yield the links of its latest sweep."""
    log = folder / "ui.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "src.ui", f"port={free_port()}", f"output_dir={folder}"]
        server = subprocess.Popen(command, cwd=PROJECT, stdout=file, stderr=file, process_group=0)
    try:
        while "page" not in (found := dict(re.findall(r"^  (\w+) +(http\S+)$", log.read_text(), re.M))):
            if server.poll() is not None:
                raise RuntimeError(f"expected the UI to run, got {log.read_text()}")
            time.sleep(0.2)
        yield found
    finally:
        stop(server)


def kept(page: Any, name: str) -> None:
    """Save a screenshot as docs/screenshots/NAME.png."""
    file = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=file)
    with Image.open(file) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.relative_to(PROJECT)}: {file.stat().st_size / 1000:.0f} kB", flush=True)


def comparison_in_mlflow(page: Any, address: str) -> None:
    """The curves of the sweep, and their dependence on the swept keys."""
    page.goto(address)
    for button in ("Close", "Hide banner", "Toggle sidebar"):  # hide the assistant, a note and the menu
        page.get_by_role("button", name=button, exact=True).click()
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .scatterlayer .js-line').length >= 12")
    page.locator(".parcoords, svg text", has_text="hidden").first.wait_for(state="attached")
    page.wait_for_timeout(3000)  # wait for animations
    kept(page, "mlflow")


def units(page: Any, file: Path) -> None:
    """The first unit of neurons.html, which follows its feature best."""
    page.goto(file.as_uri())
    page.locator("#text span").nth(400).hover()
    kept(page, "neurons")


def main() -> None:
    from playwright.sync_api import sync_playwright

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary).resolve()
        for name, arguments in (("sweep", SWEEP), ("units", UNITS)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            trained(folder / name, arguments)
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--force-color-profile=srgb"]
        )
        page = chromium.new_page(viewport={"width": 1360, "height": 880})
        page.set_default_timeout(PATIENCE)
        with served(folder / "sweep") as addresses:
            comparison_in_mlflow(page, addresses["charts"])
        (found,) = (folder / "units").glob("runs/*/neurons.html")
        units(page, found)
        chromium.close()


if __name__ == "__main__":
    main()
