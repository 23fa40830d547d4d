"""What the page of placements says of a dataset."""

import numpy as np
import xarray as xr

from studies.training import placement


def made_up(seeds: int) -> xr.Dataset:
    """Return two schemes, one rule; all accuracies are 0.5, one file of four is distorted."""
    axes = {
        "scheme": ["Alone", "DETOX"],
        "rule": ["median"],
        "arrangement": ["nobody", "worst case"],
        "seed": list(range(seeds)),
        "eval_step": [0, 1],
    }
    ones = np.ones([len(values) for values in axes.values()])
    names = {"accuracy": 0.5 * ones, "distorted_files": ones}
    found = xr.Dataset({name: (list(axes), values) for name, values in names.items()}, axes)
    return found.assign(votes=(("scheme", "rule", "arrangement", "seed"), 4 * ones[..., 0]))


def test_finding_names_what_was_measured():
    found = placement.finding(made_up(2))
    assert "worst case: Alone 0.250 ± 0.000, DETOX 0.250 ± 0.000" in found
    assert "**Test accuracy, median of the votes**: nobody: Alone 0.500 ± 0.000" in found
    assert "through the vote" not in found
    assert "One seed" in placement.finding(made_up(1))
    failed = made_up(2).where(made_up(2).scheme == "DETOX")
    assert "worst case: DETOX" in placement.finding(failed)
    assert placement.finding(made_up(2).where(False)).count("not measured") == 2
