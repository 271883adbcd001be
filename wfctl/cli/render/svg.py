"""A picture as one SVG text that needs nothing else: no script, no font file, no link. All that comes from a user is escaped."""

from __future__ import annotations

from wfctl.cli.render.text import clean

FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
CHAR = 7.3  # how wide a character of 12 pixels is taken to be
INK, FAINT, GRID = "#1f2328", "#656d76", "#d8dee4"


def escaped(text: str) -> str:
    """`text` as content or attribute of XML: on one line, and without what XML cannot hold."""
    from xml.sax.saxutils import escape

    held = "".join(char if _allowed(char) else "\N{REPLACEMENT CHARACTER}" for char in clean(text))
    return escape(held, {'"': "&quot;", "'": "&#39;"})


def _allowed(char: str) -> bool:
    code = ord(char)
    return 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


def number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


class Drawing:
    """Collects shapes. Lengths are pixels, from the upper left."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height = width, height
        self._title = title
        self._parts: list[str] = []
        self._defs: list[str] = []

    def define(self, raw: str) -> None:
        self._defs.append(raw)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        fill: str = INK,
        anchor: str = "start",
        bold: bool = False,
        size: int = 12,
    ) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{number(x)}" y="{number(y)}" fill="{fill}" font-size="{size}" text-anchor="{anchor}"{weight}'
            f' xml:space="preserve">{escaped(text)}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, *, fill: str, stroke: str = "none", round: float = 2,
        tip: str = "", dashed: bool = False,
    ) -> None:  # fmt: skip
        inner = f"<title>{escaped(tip)}</title>" if tip else ""
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self._parts.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" rx="{number(round)}"'
            f' fill="{fill}" stroke="{stroke}"{dash}>{inner}</rect>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, *, stroke: str = GRID) -> None:
        self._parts.append(
            f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" stroke="{stroke}"/>'
        )

    def path(self, data: str, *, stroke: str, dashed: bool = False, arrow: str = "", tip: str = "") -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        end = f' marker-end="url(#{arrow})"' if arrow else ""
        inner = f"<title>{escaped(tip)}</title>" if tip else ""
        self._parts.append(f'<path d="{data}" fill="none" stroke="{stroke}"{dash}{end}>{inner}</path>')

    def document(self) -> str:
        size = f'width="{number(self.width)}" height="{number(self.height)}"'
        defs = f"<defs>{''.join(self._defs)}</defs>\n" if self._defs else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {number(self.width)} {number(self.height)}"'
            f' role="img" font-family="{FONT}">\n<title>{escaped(self._title)}</title>\n{defs}'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(self._parts) + "\n</svg>\n"
        )
