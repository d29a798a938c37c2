"""The figure of a sweep over two axes whose experiment draws none: the map that `jaxcollapse phase` prints."""

from typing import Any

import numpy as np
import xarray as xr

from jaxcollapse._cells import crossings
from jaxcollapse._terminal import measured

LEVEL = 0.5


def picture(table: xr.Dataset) -> Any:
    """A figure: risk, or the first quantity, at the last generation, with its boundary at ½ along the second axis.

    None where it is nothing that `plot.phase` can draw: other than two axes of numbers, no grid, values not above 0.
    """
    try:
        found, metric = measured(table)
    except ValueError:
        return None
    mean = np.where(np.isfinite(metric.mean[:, -1]), metric.mean[:, -1], np.nan)
    grid = found.shape is not None and len(found.axes) == 2 and min(found.shape) > 1
    if not grid or any(axis.kind == "category" for axis in found.axes) or not (mean > 0).any() or np.nanmin(mean) <= 0:
        return None
    from jaxcollapse import plot

    logarithmic = [axis.kind == "log" for axis in found.axes]
    x, y = (np.log10(a.values) if log else np.array(a.values) for a, log in zip(found.axes, logarithmic, strict=True))
    labels = [f"log₁₀ {a.label}" if log else a.label for a, log in zip(found.axes, logarithmic, strict=True)]
    curves = crossings(found, metric, LEVEL).get(found.axes[1].name)
    lines = curves if curves is None or not logarithmic[1] else np.log10(curves)
    when = "" if metric.generations is None else f" at generation {metric.generations[-1]:g}"
    top = float(np.nanmax(mean))
    ax = plot.phase(
        x, y, mean.reshape(found.shape),
        boundary=None if lines is None else lines[0],
        exact=None if lines is None or not np.isfinite(lines[3]).any() else lines[3],
        labels=(labels[0], labels[1]), risk_label=f"{metric.label}{when}", level=LEVEL,
        quantity=rf"\mathrm{{{metric.name}}}".replace("_", r"\_"),
        limits=(min(max(float(np.nanmin(mean)), 1e-4 * top), 0.5 * top), top),
    )  # fmt: skip
    if lines is not None:
        low, high = (np.where(np.isfinite(lines[0]), np.clip(end, y[0], y[-1]), np.nan) for end in lines[1:3])
        ax.vlines(x, low, high, color="black", linewidth=1.4, zorder=4)
    count = int(metric.count.max())
    ax.text(1, -0.12, f"means of {count} lineages, bars: 95 %" * (count > 1), ha="right", transform=ax.transAxes)
    return ax.figure
