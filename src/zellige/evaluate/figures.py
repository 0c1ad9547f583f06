"""Numbers as people read them, with units and sensible digits; the same in the report and on the terminal."""

from __future__ import annotations

import math

from zellige.metrics import Measurement

_DIGITS = {"dB": 2, "bits": 2, "bpp": 4, "": 4}


def show(value: float, unit: str) -> str:
    """``23.41 dB``, ``0.2500 bpp``, ``83.1 %``, ``1,234 codes``, ``26.3 images/s``."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return f"∞ {unit}".strip()
    if unit == "share":
        return f"{_significant(100 * value)} %"
    if unit in _DIGITS:
        return f"{value:.{_DIGITS[unit]}f} {unit}".strip()
    return f"{_significant(value)} {unit}".strip()


def show_measurement(measurement: Measurement) -> str:
    """Its value and unit."""
    return show(measurement.value, measurement.protocol.unit)


def show_spread(measurement: Measurement) -> str:
    """``± 2.13``: the standard deviation over images; empty where there is none."""
    if measurement.spread is None:
        return ""
    return f"± {show(measurement.spread, measurement.protocol.unit).removesuffix(measurement.protocol.unit).strip()}"


def _significant(value: float) -> str:
    """Three significant digits, all digits before the point."""
    if value == 0:
        return "0"
    decimals = 2 - math.floor(math.log10(abs(value)) + 1e-12)
    return f"{value:,.{max(0, decimals)}f}"
