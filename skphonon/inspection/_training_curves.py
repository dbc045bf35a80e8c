"""How a training went, epoch by epoch."""

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skphonon._figures import Display, many_axes

__all__ = ["TrainingCurvesDisplay"]

_SIZE = 5.0, 3.2  # inch a panel
_LOSSES = {"train_loss": "training", "valid_loss": "held out"}


class TrainingCurvesDisplay(Display):
    """Losses of training and of held-out samples over epochs, a panel a network.

    A held-out loss that rises while the other falls tells of too much training, and two
    that still fall of too little.

    Parameters
    ----------
    data : DataFrame
        One row an epoch of a network: `name` (of the estimator), `epoch` (counted
        through `fit` and `partial_fit`) and the columns of its ``history_``.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import TrainingCurvesDisplay
    >>> from skphonon.learning import Trainer, VAEFeatureExtractor
    >>> X = np.random.default_rng(0).normal(size=(60, 8))
    >>> trainer = Trainer(max_epochs=5)
    >>> extractor = VAEFeatureExtractor(2, trainer=trainer, random_state=0).fit(X)
    >>> display = TrainingCurvesDisplay.from_estimator(extractor)
    >>> display.data["epoch"].tolist()
    [1, 2, 3, 4, 5]
    >>> display.plot()  # doctest: +SKIP
    """

    @classmethod
    def from_estimator(cls, estimator):
        """Take the history of a trained estimator, or of all in a Pipeline.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted.

        Returns
        -------
        TrainingCurvesDisplay

        Raises
        ------
        ValueError
            If nothing in it was trained by epochs.
        """
        import pandas as pd

        steps = (
            estimator.steps if isinstance(estimator, Pipeline) else [("", estimator)]
        )
        tables = []
        for _, step in steps:
            step = getattr(step, "estimator", step)  # of a FrozenEstimator
            if not hasattr(step, "trainer"):
                continue
            check_is_fitted(step)
            table = step.history_.assign(epoch=range(1, len(step.history_) + 1))
            table.insert(0, "name", type(step).__name__)
            tables.append(table)
        if not tables:
            raise ValueError(
                "estimator must be one that trains a network (it has a trainer), or a "
                f"Pipeline with one, got {type(estimator).__name__}."
            )
        return cls(data=pd.concat(tables, ignore_index=True))

    def plot(self, axes=None):
        """Draw the losses.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            One for each network; None makes a figure.

        Returns
        -------
        TrainingCurvesDisplay
            This display, which keeps `axes_` and `figure_`.
        """
        groups = list(self.data.groupby("name", sort=False))
        self.figure_, self.axes_ = many_axes(axes, len(groups), n_columns=2, size=_SIZE)
        for ax, (name, rows) in zip(self.axes_, groups, strict=True):
            for column, label in _LOSSES.items():
                if column in rows and rows[column].notna().any():
                    ax.plot(rows["epoch"], rows[column], label=label)
            tuned = rows.loc[rows["phase"] == "partial_fit", "epoch"]
            if len(tuned):
                ax.axvspan(
                    tuned.min() - 0.5,
                    tuned.max() + 0.5,
                    color="0.9",
                    zorder=0,
                    label="partial_fit",
                )
            losses = rows[[c for c in _LOSSES if c in rows]]
            scale = "log" if (losses.min() > 0).all() else "linear"
            ax.set(xlabel="epoch", ylabel="loss", title=name, yscale=scale)
            ax.legend(fontsize="small")
        return self
