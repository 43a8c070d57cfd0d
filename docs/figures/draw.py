"""Draw the figures of the README: ``python docs/figures/draw.py`` writes model.svg and house.svg beside this file."""

from collections.abc import Sequence
from pathlib import Path

INK, PAPER, MUTED = "#1f2933", "#ffffff", "#7b8794"
BLUE, GREEN, ORANGE, VIOLET, GREY = "#dbeafe", "#dcfce7", "#ffedd5", "#ede9fe", "#f1f5f9"
STROKES = {BLUE: "#3b82f6", GREEN: "#22a55a", ORANGE: "#ea8b2f", VIOLET: "#8b5cf6", GREY: "#94a3b8"}


class Figure:
    """An SVG image in the making; lengths are pixels, the origin is the top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.size = width, height
        self.parts: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, lines: Sequence[str], fill: str, size: int = 14
    ) -> None:
        """A rounded box with centered lines of text; the first one is bold."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{STROKES[fill]}"/>'
        )
        step = size + 4
        top = y + height / 2 - step * (len(lines) - 1) / 2
        for number, line in enumerate(lines):
            self.text(x + width / 2, top + step * number, line, size if number == 0 else size - 2, bold=number == 0)

    def text(self, x: float, y: float, line: str, size: int = 13, *, bold: bool = False, color: str = INK) -> None:
        """A line of text centered on a point."""
        weight = ' font-weight="600"' if bold else ""
        line = line.replace("&", "&amp;").replace("<", "&lt;")
        self.parts.append(
            f'<text x="{x}" y="{y + 0.35 * size:.1f}" font-size="{size}"{weight} fill="{color}" text-anchor="middle">'
            f"{line}</text>"
        )

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """A line through the points with a head at its end."""
        path = " ".join(f"{x},{y}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{INK}" marker-end="url(#head)"{dash}/>')

    def grid(
        self, x: float, y: float, cells: int, side: float, fill: str, target: tuple[int, int] | None = None
    ) -> None:
        """A square crop cut into patches, with a target drawn over some of them."""
        for row in range(cells):
            for column in range(cells):
                self.parts.append(
                    f'<rect x="{x + column * side}" y="{y + row * side}" width="{side}" height="{side}" '
                    f'fill="{fill}" stroke="{STROKES[fill]}" stroke-width="0.7"/>'
                )
        if target is not None:
            low, count = target
            self.parts.append(
                f'<rect x="{x + low * side}" y="{y + low * side}" width="{count * side}" height="{count * side}" '
                f'fill="none" stroke="#dc2626" stroke-width="2.5"/>'
            )

    def save(self, path: Path) -> None:
        """Write the file."""
        width, height = self.size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="Helvetica, Arial, sans-serif" stroke-width="1.5">\n'
            f'<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z" fill="{INK}"/></marker></defs>\n'
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>\n'
        )
        path.write_text(head + "\n".join(self.parts) + "\n</svg>\n", encoding="utf-8")


def draw_model() -> Figure:
    """Encoder, tokens, decoder: how SeqTrack generates a box."""
    figure = Figure(980, 330)
    figure.grid(30, 45, 4, 18, GREEN, (1, 2))
    figure.text(66, 132, "template crops", 12, color=MUTED)
    figure.grid(22, 165, 7, 18, BLUE)
    figure.parts.append(
        '<rect x="82" y="213" width="42" height="50" fill="none" stroke="#dc2626" stroke-dasharray="4 3"/>'
    )
    figure.text(85, 306, "search crop", 12, color=MUTED)
    figure.arrow((108, 81), (188, 130))
    figure.arrow((152, 228), (188, 190))
    figure.box(192, 85, 150, 150, ["ViT encoder", "all patches attend", "to all patches"], VIOLET)
    figure.arrow((342, 160), (398, 160))
    for number in range(8):
        token = f'x="402" y="{96 + number * 16}" width="26" height="13" rx="3"'
        figure.parts.append(f'<rect {token} fill="{BLUE}" stroke="{STROKES[BLUE]}"/>')
    figure.text(415, 244, "search tokens", 12, color=MUTED)
    figure.arrow((430, 160), (488, 160))
    inputs, outputs = ("START", "cx", "cy", "w"), ("cx", "cy", "w", "h")
    places = [516 + number * 92 for number in range(4)]
    for x in places[:3]:  # drawn first: they pass behind the decoder
        figure.arrow((x + 76, 55), (x + 84, 55), (x + 84, 270), (x + 90, 270), dashed=True)
    figure.box(
        492, 110, 400, 100, ["causal decoder", "masked self-attention, cross-attention to the search tokens"], ORANGE
    )
    for x, entered, generated in zip(places, inputs, outputs, strict=True):
        figure.box(x, 255, 76, 30, [entered], GREY, 13)
        figure.arrow((x + 38, 255), (x + 38, 213))
        figure.arrow((x + 38, 110), (x + 38, 73))
        figure.box(x, 40, 76, 30, [generated], GREEN, 13)
    figure.text(692, 20, "four coordinate tokens out of 4000 bins: the box", 12, color=MUTED)
    figure.text(692, 308, "tokens generated so far", 12, color=MUTED)
    return figure


def draw_house() -> Figure:
    """The packages and who imports whom."""
    figure = Figure(980, 300)
    figure.box(
        20,
        20,
        940,
        50,
        ["tracking/   benchmarks/   external/", "scripts"],
        GREY,
    )
    figure.box(40, 115, 270, 62, ["lib/train", "sampler, processing, actor, trainer"], ORANGE)
    figure.box(355, 115, 270, 62, ["lib/test  (evaluation)", "tracker, runs, results, analysis"], GREEN)
    figure.box(670, 115, 270, 62, ["lib/synthetic", "renders annotated videos"], BLUE)
    figure.box(40, 222, 270, 62, ["lib/models", "vocabulary, encoder, decoder"], VIOLET)
    figure.box(355, 222, 270, 62, ["lib/config", "options and paths"], GREY)
    figure.box(670, 222, 270, 62, ["lib/utils", "boxes, crop, images, checkpoints"], GREY)
    for x in (175, 490, 805):
        figure.arrow((x, 70), (x, 112))
    figure.arrow((175, 177), (175, 219))
    figure.arrow((420, 177), (310, 235))
    figure.arrow((310, 253), (352, 253))
    figure.arrow((625, 253), (667, 253))
    figure.arrow((805, 177), (805, 219))
    figure.arrow((625, 146), (667, 146))
    figure.arrow((230, 177), (230, 197), (640, 197), (640, 160), (667, 160))
    return figure


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    draw_model().save(folder / "model.svg")
    draw_house().save(folder / "house.svg")
