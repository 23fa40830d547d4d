"""The modelled speed-up of a round: its points, its map, and the server of Bulyan and DRACO."""

from dataclasses import replace

import numpy as np
import pytest

from detox_sim import costs
from studies.timing import speed_ups


def test_speed_ups_at_the_doubts():
    """At 11,173,962 parameters; the median's server alone takes 15.3 s with the DETOX code."""
    found = speed_ups.doubtful().sel(rule=["Median", "Multi-Krum"])
    for doubt, expected in {
        "as quoted": [4.62, 3.59],
        "65 images a second": [3.91, 3.01],
        "2.5 Gbit/s": [2.47, 2.01],
        "65 images a second and 2.5 Gbit/s": [2.31, 1.88],
    }.items():
        assert found.sel(code="code", doubt=doubt).values == pytest.approx(expected, abs=0.01)
        ours = found.sel(code="ours", doubt=doubt).values
        assert ours == pytest.approx([1.0, 1.0], abs=0.26), doubt


def test_map_is_the_speed_up_of_each_cluster():
    found = speed_ups.speed_up_map()
    for code, rule, i, j in (("code", "Median", 0, 60), ("ours", "Multi-Krum", 33, 7)):
        images, gigabits = float(found.images[i]), float(found.gigabits[j])
        cluster = replace(
            speed_ups.CODES[code], worker_flops=images * 3.329e9, bandwidth=gigabits * 1.25e8
        )
        one = found.sel(code=code, rule=rule).values[i, j]
        assert one == pytest.approx(speed_ups.speed_up(rule, cluster)), (code, rule)


def test_bandwidth_does_not_decide_whether_detox_pays():
    """Both rounds send the same messages: bandwidth moves a ratio towards 1, never across it."""
    found = speed_ups.speed_up_map()
    pays = found > 1
    assert (pays == pays.isel(gigabits=0)).all()
    assert (abs(np.log(found)).diff("gigabits") > 0).all()
    assert (found.diff("images") > 0).all()


def test_images_from_which_detox_pays_are_on_the_contour():
    for code, rule, low, high in (
        ("code", "Median", 0, 10), ("ours", "Median", 500, 1100), ("ours", "Multi-Krum", 60, 130)
    ):  # fmt: skip
        images = speed_ups.least_images(code, rule)
        assert low < images < high, (code, rule)
        cluster = replace(speed_ups.CODES[code], worker_flops=images * 3.329e9)
        assert speed_ups.speed_up(rule, cluster) == pytest.approx(1, abs=1e-9), (code, rule)


def test_rounds_of_d_bulyan_and_draco():
    d_bulyan = speed_ups.round_seconds("D-Bulyan", costs.Cluster())
    saved = speed_ups.saved_by_threads("D-Bulyan")
    assert (d_bulyan, d_bulyan * (1 - saved)) == pytest.approx((6.45, 4.63), abs=0.01)
    for workers, files, vote, expected in ((55, 5, "majority", 4.86), (45, 45, "cyclic", 7.58)):
        seconds = costs.round_seconds(
            workers=workers, files=files, copies=11, vote=vote, groups=None, inner=None,
            outer="mean", batch=1440, **costs.MODEL_SIZES["resnet18"],
        )  # fmt: skip
        assert sum(seconds.values()) == pytest.approx(expected, abs=0.01), vote
    assert all(speed_ups.saved_by_threads(name) == 0 for name in ("DRACO", "Median", "D-Mean"))
