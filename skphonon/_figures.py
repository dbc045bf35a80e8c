"""The base of pictures, axes to draw on, those given or new ones, and their legend."""

import numpy as np

__all__ = ["Display", "add_legend", "many_axes", "one_axes"]


class Display:
    """A picture of the numbers in a table."""

    def __init__(self, *, data):
        self.data = data


def one_axes(ax, figsize=None):
    """Return `ax` with its figure, or a new figure with axes."""
    if ax is not None:
        return ax.figure, ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")


def many_axes(axes, n_panels, *, n_columns, size, share=False):
    """Return `n_panels` axes with their figure, those given or new ones."""
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

    `beside` puts it below all panels, for which a figure needs a layout of its own.
    """
    handles, labels = axes[0].get_legend_handles_labels()
    if beside:
        place = {"loc": "outside lower center", "ncols": 3}
        axes[0].figure.legend(handles, labels, fontsize="small", **place)
    else:
        axes[0].legend(handles, labels, fontsize="small")
