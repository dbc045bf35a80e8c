"""Errors of pixels that do not follow their own counts."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from skphonon._validation import is_number

if TYPE_CHECKING:
    from skphonon.instrument.measurement import Measurement

__all__ = ["local_errors"]


def local_errors(measurement: "Measurement", window: int = 5) -> NDArray[np.float64]:
    r"""Return the root mean square error of the neighbours of each pixel.

    The error of a count is the root of that count, not of its expectation: pixels that
    are low by chance have small errors and large weights, so that a fit with these
    weights comes out below the data, by about one count a pixel (Baker and Cousins,
    Nucl. Instrum. Methods 221, 437 (1984), doi:10.1016/0167-5087(84)90016-4). Pixels
    without counts get errors that are next to nothing. Averages over neighbours hardly
    depend on the count of one pixel.

    Parameters
    ----------
    measurement : Measurement
        With errors, on a grid.
    window : int, default=5
        Pixels along each axis to average over, odd. Errors should change little within.

    Returns
    -------
    ndarray of the shape of ``measurement.error``
        NaN where the error is, or where no neighbour has one above zero.

    Raises
    ------
    ValueError
        If the measurement has no errors or no grid, or `window` is not odd and
        positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import Measurement, SpectrumGrid
    >>> from skphonon.instrument import local_errors
    >>> grid = SpectrumGrid([10.0, 20.0, 30.0], [1.0, 2.0])
    >>> measured = Measurement(np.ones((1, 6)), grid, error=[[3, 3, 3, 1e-6, 3, 3]])
    >>> local_errors(measured).round(2)
    array([[2.74, 2.74, 2.74, 2.74, 2.74, 2.74]])
    """
    if measurement.error is None or measurement.grid is None:
        lacks = "grid" if measurement.grid is None else "errors"
        raise ValueError(
            f"measurement must have errors and a grid, got one without {lacks}."
        )
    if not is_number(window) or window < 1 or window % 2 != 1:
        raise ValueError(f"window must be a positive odd number, got {window!r}.")
    images = measurement.grid.to_image(np.square(measurement.error))
    known = np.isfinite(images)
    size = (1, *[int(window)] * (images.ndim - 1))
    number = uniform_filter(known.astype(float), size, mode="constant")
    total = uniform_filter(np.where(known, images, 0.0), size, mode="constant")
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(known, np.sqrt(total / number), np.nan)
    rows: NDArray[np.float64] = measurement.grid.to_rows(
        np.where(means > 0, means, np.nan)
    )
    return rows
