"""The order of the gallery: what a newcomer reads first comes first."""

from pathlib import Path

#: Names of examples without plot_ and .py; others follow by name.
ORDER = [
    "quickstart",
    "pipeline_search",
    "expert_regions",
    "displays",
    "n_experts",
    "same_story",
    "inverse_problem",
    "conformal",
    "standard_errors",
    "tone_ethanol",
    "outliers",
    "count_families",
    "grouped_counts",
    "known_subtasks",
    "column_groups",
    "hierarchy",
    "routing",
    "kernel_experts",
    "cascade",
    "resume",
    "out_of_core",
    "streaming",
    "dask",
    "own_gate",
]


class ReadingOrder:
    """Key for sorting the files of a folder, as sphinx-gallery asks for it."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, filename):
        """Return the place of an example."""
        name = Path(filename).stem.removeprefix("plot_")
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)
