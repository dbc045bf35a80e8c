"""Axes to draw on, those given or new ones, and their legend."""

import numpy as np


def one_axes(ax, figsize=None):
    """Return `ax` with its figure, or a new figure with axes.

    Parameters
    ----------
    ax : matplotlib Axes or None
        Axes given.
    figsize : tuple of float, default=None
        Size of a new figure in inches.

    Returns
    -------
    figure : matplotlib Figure
    ax : matplotlib Axes
    """
    if ax is not None:
        return ax.figure, ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")


def many_axes(axes, n_panels, *, n_columns, size, share=False):
    """Return `n_panels` axes with their figure, those given or new ones.

    Parameters
    ----------
    axes : array-like of matplotlib Axes or None
        Axes given.
    n_panels : int
        Axes needed.
    n_columns : int
        Panels side by side in a new figure.
    size : tuple of float
        Width and height of a panel in inches.
    share : bool, default=False
        Whether the panels of a new figure share both axes.

    Returns
    -------
    figure : matplotlib Figure
    axes : ndarray of matplotlib Axes of shape (n_panels,)

    Raises
    ------
    ValueError
        If another number of axes is given.
    """
    if axes is not None:
        axes = np.ravel(np.asarray(axes, dtype=object))
        if len(axes) != n_panels:
            raise ValueError(
                f"axes must hold one axes for each of {n_panels} panels, got "
                f"{len(axes)}."
            )
        return axes[0].figure, axes
    import matplotlib.pyplot as plt

    n_columns = min(n_columns, n_panels)
    n_rows = -(-n_panels // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(n_columns * size[0], n_rows * size[1]),
        layout="constrained",
        squeeze=False,
        sharex=share,
        sharey=share,
    )
    for spare in axes.flat[n_panels:]:
        figure.delaxes(spare)
    return figure, axes.ravel()[:n_panels]


def add_legend(axes, *, beside):
    """Draw one legend for panels that all show the same things as the first.

    Parameters
    ----------
    axes : ndarray of matplotlib Axes
        The panels.
    beside : bool
        Whether to put it below them all, over none of the points, for which a figure
        needs a layout of its own; else on the first.
    """
    handles, labels = axes[0].get_legend_handles_labels()
    if beside:
        place = {"loc": "outside lower center", "ncols": 3}
        axes[0].figure.legend(handles, labels, fontsize="small", **place)
    else:
        axes[0].legend(handles, labels, fontsize="small")
