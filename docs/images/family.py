"""Draws `family.svg`, the picture on the first page: python docs/images/family.py

Lines and letters take the page's own color (`currentColor`), so that it reads in light and dark.
"""

from pathlib import Path

import numpy as np

BLUE, RED, GREEN = "#3b82f6", "#ef6c4d", "#22a06b"
PANELS = ("sparse", "static", "dynamic", "around any model")
CAPTIONS = (
    ("positions are learned,", "or placed for each input"),
    ("one generator makes", "the kernels of many layers"),
    ("a small LSTM rescales", "a large one at every step"),
    ("a condition becomes", "the weights of your model"),
)


def box(x, y, width, height, label="", color="currentColor", fill="none", size=14):
    text = ""
    if label:
        place = f'x="{x + width / 2}" y="{y + height / 2}" font-size="{size}"'
        text = f'<text {place} text-anchor="middle" dominant-baseline="central">{label}</text>'
    shape = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="6"'
    paint = f'fill="{fill}" fill-opacity="0.16" stroke="{color}" stroke-width="1.6"'
    return f"<rect {shape} {paint}/>{text}"


def matrix(x, y, side, values, color):
    """A square of cells, as opaque as their values in [0, 1]."""
    step = side / len(values)
    cells = [
        f'<rect x="{x + j * step:.1f}" y="{y + i * step:.1f}" width="{step - 1:.1f}" '
        f'height="{step - 1:.1f}" fill="{color}" fill-opacity="{value:.2f}"/>'
        for i, row in enumerate(values)
        for j, value in enumerate(row)
    ]
    frame = f'<rect x="{x - 1}" y="{y - 1}" width="{side + 1}" height="{side + 1}" fill="none" '
    return "".join(cells) + frame + 'stroke="currentColor" stroke-opacity="0.5"/>'


def arrow(x0, y0, x1, y1, color="currentColor"):
    start, end = np.array([x0, y0]), np.array([x1, y1])
    along = (end - start) / np.linalg.norm(end - start)
    across = 3.5 * along[::-1] * (-1, 1)
    (ax, ay), (bx, by) = end - 7 * along + across, end - 7 * along - across
    line = f'<line x1="{x0}" y1="{y0}" x2="{(ax + bx) / 2:.1f}" y2="{(ay + by) / 2:.1f}" '
    tip = f'<path d="M{x1} {y1} L{ax:.1f} {ay:.1f} L{bx:.1f} {by:.1f} z" fill="{color}"/>'
    return f'{line}stroke="{color}" stroke-width="1.6"/>{tip}'


def words(x, y, text, size=13, weight="normal", opacity=1.0):
    style = f'font-size="{size}" font-weight="{weight}" fill-opacity="{opacity}"'
    return f'<text x="{x}" y="{y}" text-anchor="middle" {style}>{text}</text>'


def sparse(rng):
    n, side, x, y = 8, 112, 44, 96
    cells = np.zeros((n, n))
    parts = []
    for i, (row, column) in enumerate(zip(range(n), rng.permutation(n), strict=True)):
        cells[row, column] = 1
        if i % 3 == 0:
            center = x + (column + 0.5) * side / n, y + (row + 0.5) * side / n
            disc = f'<circle cx="{center[0]}" cy="{center[1]}" r="19" fill="{BLUE}" '
            parts.append(disc + 'fill-opacity="0.18"/>')
            parts.append(arrow(center[0], center[1], center[0] + 15, center[1] + 13, BLUE))
    numbers = words(100, 66, "(μ, σ, v) × k") + arrow(100, 74, 100, 91)
    return matrix(x, y, side, cells, BLUE) + "".join(parts) + numbers


def static(rng):
    parts = [box(42, 44, 116, 32, "generator", GREEN, GREEN)]
    for i in range(3):
        x = 28 + 54 * i
        parts.append(arrow(x + 18, 78, x + 18, 116))
        parts.append(words(x + 27, 103, f"z{'₁₂₃'[i]}", 12))
        parts.append(matrix(x, 122, 36, rng.random((4, 4)), GREEN))
        parts.append(words(x + 18, 178, f"K{'₁₂₃'[i]}", 12))
    parts.append(words(100, 200, "layer 1, 2, 3, …", 12, opacity=0.75))
    return "".join(parts)


def dynamic(rng):
    parts = []
    for i in range(3):
        x = 18 + 60 * i
        parts.append(box(x, 44, 42, 28, "ĥ" + "₁₂₃"[i], RED, RED))
        parts.append(arrow(x + 21, 73, x + 21, 105, RED))
        parts.append(words(x + 32, 94, "d", 12))
        scales = np.clip(0.25 + 0.75 * rng.random(4), 0, 1)
        parts.append(matrix(x + 3, 110, 36, np.tile(scales, (4, 1)), RED))
        parts.append(words(x + 21, 202, "x" + "₁₂₃"[i], 12))
        parts.append(arrow(x + 21, 188, x + 21, 152))
        if i < 2:
            parts.append(arrow(x + 43, 58, x + 57, 58, RED))
            parts.append(arrow(x + 41, 128, x + 58, 128))
    return "".join(parts)


def around(rng):
    return "".join(
        [
            words(28, 62, "c", 15),
            arrow(38, 58, 56, 58),
            box(60, 42, 80, 32, "body", BLUE, BLUE),
            arrow(100, 76, 100, 112, BLUE),
            words(114, 99, "w", 13),
            box(44, 117, 112, 62, "", "currentColor"),
            *(matrix(52 + 36 * i, 127, 26, rng.random((3, 3)), BLUE) for i in range(3)),
            words(100, 171, "target", 12),
            words(18, 152, "x", 15),
            arrow(26, 148, 41, 148),
            arrow(158, 148, 173, 148),
            words(183, 152, "y", 15),
        ]
    )


def svg():
    rng = np.random.default_rng(3)
    parts = []
    drawings = (sparse, static, dynamic, around)
    for i, (draw, title, caption) in enumerate(zip(drawings, PANELS, CAPTIONS, strict=True)):
        lines = words(100, 22, title, 16, "bold") + draw(rng)
        lines += "".join(words(100, 236 + 18 * j, line) for j, line in enumerate(caption))
        parts.append(f'<g transform="translate({10 + 210 * i} 0)">{lines}</g>')
    about = "Four kinds of hypernetworks: sparse, static, dynamic, and around any model"
    return (
        '<figure class="family"><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 850 264" '
        f'role="img" aria-label="{about}" font-family="system-ui, sans-serif" fill="currentColor">'
        f"{''.join(parts)}</svg></figure>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(svg(), encoding="utf-8")
