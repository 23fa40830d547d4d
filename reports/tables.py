"""A table that a reader sorts by its columns and filters, in a page that loads nothing."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

# DataTables both sorts and filters. It has several releases a year and the MIT licence, needs no other
# library, no network and no `eval`, and takes an order of our own, in which NaN is last. Its one file
# adds 124 kB to a page. The bundle in the pip package itables has 619 kB; simple-datatables is about as
# large (103 kB), LGPL, and builds its rows anew; tablesort and sortable-tablesort (3 kB) filter nothing.
HERE = Path(__file__).parent
SCRIPTS = (HERE / "datatables" / "dataTables.min.js", HERE / "tables.js")
MARK = "detox_sim_sortable"  # in the metadata of an output whose page needs SCRIPTS


def sortable(
    frame: pd.DataFrame, numbers: pd.DataFrame | None = None, choices: Sequence[str] = ()
) -> None:
    """Display a DataFrame as a table that a reader can sort by each column and filter.

    A click on the name of a column sorts by it: ascending, then descending, then as given. A column
    of numbers sorts by number, any other by text. NaN is last in both directions. A field above the
    table shows the rows that contain all words typed there, and hides those with a word after "!".
    Without JavaScript the page shows the same table, as given. All texts are escaped.

    Parameters
    ----------
    frame : pandas.DataFrame, shape (rows, columns)
        What is shown, numbers that are no integers with six digits. The levels of its index are the
        first columns.
    numbers : pandas.DataFrame, shape (rows, some of the columns), optional
        The numbers by which columns of text sort, such as 0.712 for "0.712 [0.69, 0.73]". Its index
        is that of `frame`.
    choices : sequence of str
        Columns with few different texts. A list above the table selects the rows with one of them.

    Raises
    ------
    ValueError
        When `numbers` has another index than `frame`, when `numbers` or `choices` has a name that
        is no column, and when two columns have the same name.

    Examples
    --------
    >>> numbers = pd.DataFrame({"accuracy": [0.712, float("nan")]})
    >>> shown = pd.DataFrame({"rule": ["median", "mean"], "accuracy": ["0.712 [0.69, 0.73]", "failed"]})
    >>> sortable(shown.set_index("rule"), numbers.set_index(shown["rule"]), choices=["rule"])
    <IPython.core.display.HTML object>
    """
    from IPython.display import HTML, display

    orders = _orders(frame, numbers, choices)
    if frame.empty:
        return
    frame = frame.reset_index()
    heads = [
        f'<th class="{"number" * (name in orders)} {"choice" * (name in choices)}">{escape(str(name))}'
        for name in frame
    ]
    columns = [_cells(column, orders.get(name)) for name, column in frame.items()]
    rows = [f"<tr>{''.join(row)}</tr>\n" for row in zip(*columns, strict=True)]
    content = f"<thead><tr>{'</th>'.join(heads)}</th></tr></thead><tbody>\n{''.join(rows)}</tbody>"
    table = f'<div class="table sortable"><table>{content}</table></div>'
    display(HTML(table), metadata={MARK: True})


def _orders(
    frame: pd.DataFrame, numbers: pd.DataFrame | None, choices: Sequence[str]
) -> dict[Any, pd.Series]:
    """Return the numbers by which columns sort, by the column's name; check what was given."""
    if numbers is None:
        numbers = frame[[]]
    if not numbers.index.equals(frame.index):
        raise ValueError(
            f"numbers ({len(numbers)} rows) must have the index of frame ({len(frame)} rows); "
            "numbers.reindex(frame.index) has it"
        )
    frame = frame.reset_index()
    names = list(frame)
    if not frame.columns.is_unique:
        raise ValueError(f"the columns must have different names, got {names}")
    if unknown := [name for name in [*numbers, *choices] if name not in names]:
        raise ValueError(f"no column has the name {unknown[0]!r}; the columns are {names}")
    own = frame.select_dtypes("number")
    return dict(own.items()) | dict(numbers.items())


def _cells(column: pd.Series, order: pd.Series | None) -> list[str]:
    """Return the cells of a column as HTML, with the numbers by which they sort."""
    texts = [escape(f"{x:g}" if isinstance(x, float) else str(x)) for x in column]
    if order is None:
        return [f"<td>{text}</td>" for text in texts]
    keys = map(json.dumps, order.astype(float))  # NaN and Infinity as JavaScript writes them
    return [f'<td data-order="{key}">{text}</td>' for key, text in zip(keys, texts, strict=True)]
