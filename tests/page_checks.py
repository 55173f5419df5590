"""Checks of a page in a browser: its width, its colors, and the names of its figures."""

import io
from typing import Any

import numpy as np
from PIL import Image

SIZES = ((390, 844), (1280, 900))  # a phone and a desktop
LOW_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (...colors) => {
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (color) => {
    const linear = (v) => v <= 10 ? v / 3294 : ((v / 255 + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = color.map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const low = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
    if (!text || element.closest("svg, script, style, [disabled], [hidden], #scale")) continue;
    const behind = [];
    for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
    const base = getComputedStyle(document.documentElement).colorScheme === "dark" ? "black" : "white";
    const ground = rgb(base, ...behind), ink = rgb(`rgb(${ground})`, getComputedStyle(element).color);
    const [a, b] = [luminance(ground), luminance(ink)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${text} ${ink} on ${ground}`);
  }
  return low;
}"""


def check_layout(page: Any) -> None:
    """Check that the page fits a phone and a desktop, and is light or dark as the system is."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is too wide"
            assert is_dark(page.screenshot()) == (scheme == "dark")
        low = page.evaluate(LOW_CONTRAST)
        assert low == [], (scheme, len(low))
        for figure in page.locator("svg[aria-label]").all():
            assert is_dark(figure.screenshot()) == (scheme == "dark"), "the ground of a figure"


def is_dark(png: bytes) -> bool:
    """Return whether most pixels of a picture are dark; its ink must differ from its ground."""
    with Image.open(io.BytesIO(png)) as image:
        levels = np.asarray(image.convert("L"), float)
    ground = np.median(levels)
    assert abs(levels - ground).max() > 150, "nothing can be read"
    return bool(ground < 128)


def figure_names(page: Any) -> list[str]:
    """Return the accessible name of each figure."""
    names = page.locator("svg").evaluate_all("figures => figures.map((f) => f.ariaLabel)")
    return [str(name) for name in names]
