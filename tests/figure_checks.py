"""Check that figures are readable."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

PIXEL = 1.0


def clipped_texts(figure: Figure) -> list[str]:
    """Return texts, axis labels and legends that are partly outside of the figure."""
    figure.draw_without_rendering()
    axes = [each for ax in figure.axes for each in (ax, *ax.child_axes) if isinstance(each, Axes)]
    legends = [*figure.legends, *filter(None, (ax.get_legend() for ax in axes))]
    texts = {text.get_text(): text for text in figure.texts}
    for ax in axes:
        texts |= {text.get_text(): text for text in (ax.title, ax.xaxis.label, ax.yaxis.label)}
    boxes = {name: text.get_window_extent() for name, text in texts.items() if name}
    boxes |= {each.get_texts()[0].get_text(): each.get_window_extent() for each in legends}
    area = figure.bbox.padded(PIXEL)
    return [name for name, box in boxes.items() if not (area.contains(*box.min) and area.contains(*box.max))]
