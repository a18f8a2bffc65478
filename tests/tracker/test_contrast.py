"""Text in every theme stands out from what it is on: WCAG 2 AA, computed from the tokens of the style sheet."""

import math
import re

import pytest

from tests.services.process import ROOT

CSS = (ROOT / "static/css/tokens.css").read_text()
COLOUR = r"oklch\(([\d.]+) ([\d.]+) ([\d.]+)\)"
TOKENS = {
    name: (tuple(map(float, light)), tuple(map(float, dark)))
    for name, *both in re.findall(rf"--([\w-]+): light-dark\({COLOUR}, {COLOUR}\);", CSS)
    for light, dark in [(both[:3], both[3:])]
}
STATES = {
    state: (float(hue), float(chroma))
    for names, hue, chroma in re.findall(
        r"((?:\[data-state=\"\w+\"\],? ?)+)\{ --state-h: ([\d.]+); --state-c: ([\d.]+); \}", CSS
    )
    for state in re.findall(r'"(\w+)"', names)
} | {"pending": (260.0, 0.014)}
GROUNDS = ("canvas", "surface", "raised", "sunken", "hover", "selected")
INKS = ("ink", "ink-2", "ink-3", "accent", "danger")
PAIRS = [(ink, ground) for ink in INKS for ground in GROUNDS] + [
    ("accent-ink", "accent"),
    ("primary-ink", "primary"),
    ("primary-ink", "primary-hover"),
    ("danger", "danger-tint"),
    ("danger-ink", "danger"),
    ("accent", "accent-tint"),
    ("code-string", "sunken"),
    ("code-number", "sunken"),
    ("code-literal", "sunken"),
]
THEMES = {"light": 0, "dark": 1}
# As tokens.css makes them of a state's hue and chroma: (lightness, part of the chroma) in light and dark.
STATE_INK = ((0.46, 1.0), (0.8, 0.85))
STATE_TINT = ((0.955, 0.22), (0.285, 0.42))


def luminance(colour):
    """Relative luminance of an oklch colour, clipped to what a screen shows."""
    lightness, chroma, hue = colour
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short
    parts = zip((0.2126, 0.7152, 0.0722), (red, green, blue), strict=True)
    return sum(weight * min(1, max(0, part)) for weight, part in parts)


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def of_state(state, recipe):
    hue, chroma = STATES[state]
    lightness, part = recipe
    return lightness, chroma * part, hue


def test_black_on_white_is_21():
    assert contrast((0, 0, 0), (1, 0, 0)) == pytest.approx(21, abs=0.01)


def test_the_recipes_are_those_of_the_style_sheet():
    assert "oklch(0.46 var(--state-c)" in CSS
    assert "oklch(0.8 calc(var(--state-c) * 0.85)" in CSS
    assert "oklch(0.955 calc(var(--state-c) * 0.22)" in CSS
    assert "oklch(0.285 calc(var(--state-c) * 0.42)" in CSS


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_stands_out(ink, ground, theme):
    assert contrast(TOKENS[ink][THEMES[theme]], TOKENS[ground][THEMES[theme]]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("state", STATES)
def test_a_states_word_stands_out_on_its_tint_and_in_a_row(state, theme):
    side = THEMES[theme]
    ink = of_state(state, STATE_INK[side])
    assert contrast(ink, of_state(state, STATE_TINT[side])) >= 4.5
    assert min(contrast(ink, TOKENS[ground][side]) for ground in GROUNDS) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_the_edge_of_a_field_is_seen(theme):
    assert contrast(TOKENS["field"][THEMES[theme]], TOKENS["surface"][THEMES[theme]]) >= 3
