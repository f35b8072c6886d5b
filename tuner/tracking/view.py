"""The page of MLflow that compares the trials of a search: which runs, in which order and columns.

An address has the runs and their order. Columns MLflow takes from a view that was shared: the tag
of an experiment that its own button "Share" writes, here under the id of the search.
"""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from tuner.space import SearchSpec
from tuner.tracking.values import MAX_TAG_CHARS, key_of

#: What precedes the key of a view in its tag.
VIEW_TAG = "mlflow.sharedViewState."
_ORDER = {"orderByKey": "metrics.`w1`", "orderByAsc": True}


def view_columns(spec: SearchSpec) -> list[str]:
    """List the columns of a search's trials: the scores, what is searched, and how they ended."""
    searched = [key.partition(".")[2] for key in spec.domains]
    return [
        *(f"metrics.`{name}`" for name in ("w1", "w1_stderr", "w1_final")),
        *(f"params.`{key_of(name)}`" for name in searched),
        "tags.`status`",
    ]


def shared_view(parent: str, columns: Sequence[str]) -> str | None:
    """Return a view of the child runs of a run as MLflow stores it; ``None`` if it is too long."""
    state = {
        "searchFilter": _filter(parent),
        **_ORDER,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
    }
    text = json.dumps(state)
    return text if len(text) <= MAX_TAG_CHARS else None


def view_query(parent: str, key: str | None) -> str:
    """Return the query of MLflow's page of runs that compares the child runs of a run.

    Args:
        parent: The run.
        key: The key of its shared view. Without one these are the charts of the runs, sorted by
            ``w1``: in its default order MLflow folds them into their parent.
    """
    if key is not None:
        return urlencode({"viewStateShareKey": key})
    order = {**_ORDER, "orderByAsc": "true"}
    query = {"compareRunsMode": "CHART", "searchFilter": _filter(parent), **order}
    return urlencode(query, quote_via=quote)


def _filter(parent: str) -> str:
    return f"tags.`mlflow.parentRunId` = '{parent}'"
