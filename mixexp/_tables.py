"""Loaders of the small tables that are shipped with the package."""

from __future__ import annotations

import csv
from importlib import resources
from typing import Any

import numpy as np
from sklearn.utils import Bunch

__all__ = ["load_auto_mpg", "load_concrete", "load_ethanol", "load_tone"]

_DATA_MODULE = "mixexp._data"


def check_flag(caller: str, name: str, value: Any) -> None:
    """Raise a TypeError that names the function and the parameter unless `value` is a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{caller}: {name}={value!r} is not a bool; give True or False.")


def _read_csv(filename: str) -> dict[str, Any]:
    """Return the columns of a shipped CSV file as strings, by name, in the order of the file."""
    text = (resources.files(_DATA_MODULE) / filename).read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def _import_pandas(caller: str) -> Any:
    """Import pandas, or say who needs it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{caller}: as_frame=True needs pandas, which is not installed; install it or give "
            "as_frame=False."
        ) from error
    return pandas


def _load(
    caller: str,
    stem: str,
    columns: dict[str, Any],
    target_name: str,
    *,
    return_X_y: bool,
    as_frame: bool,
    category: str = "",
    **extra: Any,
) -> Bunch | tuple[Any, Any]:
    """Give columns the form that scikit-learn's loaders return.

    All are numbers but the one named `category`, which a data frame alone can hold.
    """
    check_flag(caller, "return_X_y", return_X_y)
    check_flag(caller, "as_frame", as_frame)
    feature_names = [name for name in columns if name != target_name]
    numeric = [name for name in feature_names if name != category]
    data: Any = np.column_stack([np.asarray(columns[f], dtype=np.float64) for f in numeric])
    target: Any = np.asarray(columns[target_name], dtype=np.float64)
    frame = None
    if as_frame:
        pd = _import_pandas(caller)
        frame = pd.DataFrame(data, columns=numeric)
        if category:
            frame[category] = pd.Categorical(columns[category])
        frame[target_name] = target
        data, target = frame[feature_names], frame[target_name]
    if return_X_y:
        return data, target
    description = resources.files(_DATA_MODULE) / f"{stem}.txt"
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=feature_names,
        target_names=[target_name],
        DESCR=description.read_text(encoding="utf-8"),
        filename=f"{stem}.csv",
        data_module=_DATA_MODULE,
        **extra,
    )


def load_auto_mpg(
    *, return_X_y: bool = False, as_frame: bool = False, categorical: bool = False
) -> Any:
    """Load the Auto MPG table (regression, 392 rows, 8 features).

    The target is the fuel consumption in miles per gallon. The origin of a car is given by two
    columns of zeros and ones, ``origin_europe`` and ``origin_japan`` (both 0: USA), so that all
    features are numeric, or by one column of categories. Licence of the table: CC BY 4.0.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, the data are a pandas DataFrame and the target is a pandas Series.
    categorical : bool, default=False
        If True, one column ``origin`` of pandas' type "category", with the values europe, japan
        and usa, takes the place of the two indicators. Needs ``as_frame=True``.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : {ndarray, DataFrame} of shape (392, 8), or (392, 7) with `categorical`
            The features, float64 but for a column of categories.
        target : {ndarray, Series} of shape (392,)
            Miles per gallon.
        frame : DataFrame of shape (392, 9), or (392, 8) with `categorical`, or None
            The features and the target, only with ``as_frame=True``.
        feature_names : list of str
            Names of the features.
        target_names : list of str
            Name of the target.
        car_names : ndarray of shape (392,)
            Names of the cars, strings.
        DESCR : str
            Description, origin and licence.
        filename : str
            Name of the file.
        data_module : str
            Package that holds the file.

    (data, target) : tuple if ``return_X_y`` is True
        The features and the target as above.

    Raises
    ------
    ImportError
        If ``as_frame`` is True and pandas is not installed.
    ValueError
        If ``categorical`` is True and ``as_frame`` is not.

    References
    ----------
    Quinlan, J. R. (1993). Combining instance-based and model-based learning. Proceedings of the
    10th International Conference on Machine Learning, 236-243.

    Examples
    --------
    >>> from mixexp.datasets import load_auto_mpg
    >>> cars = load_auto_mpg()
    >>> cars.data.shape
    (392, 8)
    >>> print(cars.car_names[0], cars.target[0])
    chevrolet chevelle malibu 18.0
    """
    columns = _read_csv("auto_mpg.csv")
    car_names = np.array(columns.pop("name"))
    check_flag("load_auto_mpg", "categorical", categorical)
    if categorical and not as_frame:
        raise ValueError(
            f"load_auto_mpg: categorical=True with as_frame={as_frame!r}, and an array has no "
            "column of categories. Give as_frame=True as well, or leave out categorical."
        )
    if not categorical:
        # As treatment contrasts, with the most frequent origin (USA) as the reference: linear
        # models need no order of the origins, and no column is the sum of others.
        origin = np.array(columns.pop("origin"))
        for region in ("europe", "japan"):
            columns[f"origin_{region}"] = origin == region
    form: dict[str, Any] = {"return_X_y": return_X_y, "as_frame": as_frame}
    form["category"] = "origin" if categorical else ""
    return _load("load_auto_mpg", "auto_mpg", columns, "mpg", **form, car_names=car_names)


def load_concrete(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Load the concrete table (regression, 1030 rows, 8 features).

    The target is the compressive strength of concrete in MPa, given its mixture (kg per cubic
    metre) and its age (days). Licence of the table: CC BY 4.0.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, the data are a pandas DataFrame and the target is a pandas Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with `data` (1030, 8), `target` (1030,), `frame`, `feature_names`,
        `target_names`, `DESCR`, `filename` and `data_module`, as :func:`load_auto_mpg`.

    (data, target) : tuple if ``return_X_y`` is True
        The features and the target as above.

    Raises
    ------
    ImportError
        If ``as_frame`` is True and pandas is not installed.

    References
    ----------
    Yeh, I.-C. (1998). Modeling of strength of high-performance concrete using artificial neural
    networks. Cement and Concrete Research, 28(12), 1797-1808.

    Examples
    --------
    >>> from mixexp.datasets import load_concrete
    >>> X, y = load_concrete(return_X_y=True)
    >>> X.shape, y.shape
    ((1030, 8), (1030,))
    """
    columns = _read_csv("concrete.csv")
    form: dict[str, Any] = {"return_X_y": return_X_y, "as_frame": as_frame}
    return _load("load_concrete", "concrete", columns, "compressive_strength", **form)


def load_tone(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Load the tone perception table (regression, 150 rows, 1 feature).

    A musician tuned a tone to the octave above a fundamental whose overtones were stretched. The
    target is the ratio of the tuned tone to the fundamental, the feature is the stretching ratio.
    Published measurements, no licence claimed, not under this package's licence.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, the data are a pandas DataFrame and the target is a pandas Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with `data` (150, 1), `target` (150,), `frame`, `feature_names`,
        `target_names`, `DESCR`, `filename` and `data_module`, as :func:`load_auto_mpg`.

    (data, target) : tuple if ``return_X_y`` is True
        The feature and the target as above.

    Raises
    ------
    ImportError
        If ``as_frame`` is True and pandas is not installed.

    References
    ----------
    Cohen, E. A. (1980). Inharmonic tone perception. PhD thesis, Stanford University.

    De Veaux, R. D. (1989). Mixtures of linear regressions. Computational Statistics & Data
    Analysis, 8(3), 227-245.

    Examples
    --------
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> X.shape, y.shape
    ((150, 1), (150,))
    """
    columns = _read_csv("tone.csv")
    form: dict[str, Any] = {"return_X_y": return_X_y, "as_frame": as_frame}
    return _load("load_tone", "tone", columns, "tuned", **form)


def load_ethanol(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Load the ethanol table (regression, 88 rows, 1 feature).

    The target is the equivalence ratio at which an engine burned ethanol, the feature is the
    amount of nitrogen oxides in its exhaust. One value of the feature can belong to a lean and to
    a rich mixture, so that the regression has two branches. Published measurements, no licence
    claimed, not under this package's licence.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, the data are a pandas DataFrame and the target is a pandas Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with `data` (88, 1), `target` (88,), `frame`, `feature_names`,
        `target_names`, `DESCR`, `filename` and `data_module`, as :func:`load_auto_mpg`.

    (data, target) : tuple if ``return_X_y`` is True
        The feature and the target as above.

    Raises
    ------
    ImportError
        If ``as_frame`` is True and pandas is not installed.

    References
    ----------
    Brinkman, N. D. (1981). Ethanol fuel - a single-cylinder engine study of efficiency and
    exhaust emissions. SAE Transactions, 90, paper 810345, 1410-1424.

    Examples
    --------
    >>> from mixexp.datasets import load_ethanol
    >>> X, y = load_ethanol(return_X_y=True)
    >>> X.shape, y.shape
    ((88, 1), (88,))
    """
    columns = _read_csv("ethanol.csv")
    form: dict[str, Any] = {"return_X_y": return_X_y, "as_frame": as_frame}
    return _load("load_ethanol", "ethanol", columns, "equivalence", **form)
