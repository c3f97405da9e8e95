"""How all figures look: readable in a grey print and by the colour-blind, the same every time.

Colours are Okabe and Ito's without yellow, which is faint on white. Markers and dashes differ too:
without its colour a line is like none of the 35 before it, and a mark alone, of colour and form,
like none of the 62 before it, as there are seven colours, nine markers and four dashes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from spa.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*<"
DASHES = ("-", "--", "-.", ":")
DPI = 150
GREY = "0.75"  # what is dense, beside what is pruned


def look(i: int) -> dict[str, Any]:
    """Return how the i-th line looks."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": DASHES[i % len(DASHES)],
        "linewidth": 1.4,
        "markersize": 4.5,
    }


@contextmanager
def printed() -> Iterator[None]:
    """Draw and save in here: fixed names inside the SVG, so that the same data give the same file.

    Raises:
        MissingExtra: matplotlib is not there.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingExtra("matplotlib", "experiments", "drawing figures") from error
    # A model may be called anything; a pair of dollars in its name is not mathematics.
    plain = {"text.parse_math": False}
    with mpl.rc_context({"svg.hashsalt": "spa", "font.size": 9, "figure.dpi": DPI, **plain}):
        yield


def rendered(figure: Figure) -> tuple[bytes, bytes]:
    """Return a figure as SVG and as PNG.

    `Figure.savefig` would draw each file twice and lay it out anew, which takes the most time.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    svg, png = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})
    return svg.getvalue(), png.getvalue()


def panels(rows: int, columns: int, width: float, height: float, **more: Any) -> tuple[Any, Any]:
    """Make a figure and its axes (rows, columns); a panel's size in inches, labels not counted."""
    from matplotlib.figure import Figure

    size = (0.9 + width * columns, 0.9 + height * rows)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **more)


def rule(axes: Any) -> None:
    """Put a faint grid behind what is drawn."""
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def legend(
    figure: Figure,
    axes: Any,
    names: Sequence[str],
    extra: Sequence[Any] = (),
    dashed: bool = True,
) -> None:
    """Say below the figure which line is which, in as many columns as fit; it grows by as much.

    Args:
        figure: to write below.
        axes: any of the figure's.
        names: of the lines, which look as `look` says.
        extra: other handles.
        dashed: whether the lines are lines, not marks alone.
    """
    bare = {} if dashed else {"linestyle": "none"}
    handles = [axes.plot([], [], label=name, **(look(i) | bare))[0] for i, name in enumerate(names)]
    handles += extra
    width, height = figure.get_size_inches()
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    columns = max(1, min(len(handles), int(width / (0.55 + 0.068 * longest))))
    figure.set_size_inches(width, height + 0.19 * math.ceil(len(handles) / columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)
