"""The page `explore`: its tables, and what a browser shows of them, are the laws and the model."""

import base64
import hashlib
import re
from urllib.parse import urlencode

import pytest
from browsers import documents

from detox_sim import assignments, costs, theory
from reports import explorer
from studies.timing.rounds import IMAGES, METHODS, MODELS, PAIRS
from studies.timing.speed_ups import CODES

SCRIPT = re.compile(r"<script>(.*)</script>", re.DOTALL)
FIRST = {"workers": 45, "byzantine": 9, "copies": 3, "rule": "Median", "attackers": "random"}
FIRST |= {"images": 65, "gigabits": 2.5, "server": "code"}
SECOND = {"workers": 55, "byzantine": 17, "copies": 5, "rule": "Bulyan", "attackers": "informed"}
SECOND |= {"images": 300, "gigabits": 40, "server": "ours"}


def stages(name):
    return {key: METHODS[name][key] for key in ("groups", "inner", "outer")}


def bars(name, setting, copies):
    """Return the modelled seconds of compute, communication and aggregation."""
    workers, need = setting["workers"], copies // 2 + 1
    rates = {"worker_flops": setting["images"] * MODELS["ResNet-18"]["sample_flops"]}
    rates |= {"bandwidth": setting["gigabits"] * 1e9 / 8}
    seconds = costs.round_seconds(
        cluster=costs.Cluster(**{**vars(CODES[setting["server"]]), **rates}),
        workers=workers,
        files=workers // copies,
        copies=copies,
        batch=IMAGES * workers,
        distorted=setting["byzantine"] // need,
        **stages(name),
        **MODELS["ResNet-18"],
    )
    parts = [("compute",), ("broadcast", "send"), ("vote", "aggregate", "update")]
    return [sum(seconds[phase] for phase in part) for part in parts]


def near(value):
    """As shown, with three digits, or two where small."""
    return pytest.approx(value, rel=6e-3, abs=6e-5)


def rows(document, name):
    """Return the cells of a table that the script filled, as text."""
    body = re.search(rf'<tbody id="{name}">(.*?)</tbody>', document, re.DOTALL)[1]
    return [re.findall(r"<td>(.*?)</td>", row) for row in body.split("</tr>")[:-1]]


@pytest.fixture(scope="module")
def found():
    return explorer.tables()


def test_times_from_the_tables_are_those_of_the_model(found):
    for setting in (FIRST, SECOND, FIRST | {"workers": 15, "byzantine": 0}):
        workers, server = setting["workers"], setting["server"]
        gigabits, latency = found["network"][workers]
        for pair in found["rules"].values():
            for kind, copies in (("alone", 1), ("detox", 5)):
                pipeline = pair[kind]
                values = pipeline["seconds"][server].get(f"{workers}/{copies}")
                if values is None:  # too few votes
                    assert workers == 15, pipeline["name"]
                    continue
                distorted = setting["byzantine"] // (copies // 2 + 1)
                parts = [found["images"] * copies / setting["images"]]
                parts += [gigabits / setting["gigabits"] + latency]
                parts += [values[min(distorted, len(values) - 1)]]
                expected = bars(pipeline["name"], setting, copies)
                assert parts == pytest.approx(expected, rel=1e-4), (setting, pipeline["name"])


def test_failures_from_the_tables_are_those_of_the_law(found):
    for workers, byzantine, copies in ((45, 9, 3), (60, 29, 3), (55, 17, 5), (49, 20, 7)):
        law, votes = found["laws"][copies][workers][byzantine], workers // copies
        exact = theory.distorted_files(workers, byzantine, copies)
        assert law == pytest.approx(exact, rel=1e-4)
        holders = assignments.detox(workers, copies)
        assert len(law) == 1 + theory.worst_case_distorted_files(holders, byzantine).distorted
        for rule, pair in found["rules"].items():
            given = pair["detox"]["breaks"][votes]
            chance = sum(x * given[min(k, len(given) - 1)] for k, x in enumerate(law))
            expected = theory.condition_violated(votes, exact, **stages(PAIRS[rule]))
            assert chance == pytest.approx(expected, rel=1e-4, abs=1e-9), (rule, workers)


def test_browser_shows_the_law_and_the_model_and_no_impossible_number(smoke, tmp_path):
    page = (smoke[0] / "report" / "explore.html").as_uri()
    impossible = FIRST | {"workers": 44}
    hostile = "workers=NaN&images=-1&rule=<img src=x onerror=document.title=1>&toString=1"
    fragments = [*map(urlencode, (FIRST, SECOND, impossible)), hostile]
    first, second, refused, odd = documents(tmp_path, [f"{page}#{part}" for part in fragments])

    law = theory.distorted_files(45, 9, 3)
    shown = rows(first, "law")
    assert [int(row[0]) for row in shown] == [0, 1, 2, 3, 4]
    assert [float(row[1]) for row in shown] == near(law)
    fails = theory.condition_violated(15, law, **stages("D-Median"))
    chance = re.search(r"fails with chance ([\d.e-]+\d)", first)[1]
    assert float(chance) == near(fails)
    assert [row[:3:2] for row in rows(second, "law")] == [["5", "1"]]
    assert "D-Bulyan (bulyan of the votes)" in second
    assert "can be made to fail" in second
    for document, setting in ((first, FIRST), (second, SECOND)):
        names = [(PAIRS[setting["rule"]], setting["copies"]), (setting["rule"], 1)]
        for row, (name, copies) in zip(rows(document, "times"), names, strict=True):
            expected = bars(name, setting, copies)
            assert row[0] == name
            assert [float(cell) for cell in row[1:]] == near([sum(expected), *expected]), name
    assert "3 copies do not divide 44 workers." in refused
    assert "45 workers, 9 of them Byzantine, 3 copies</a>" in refused
    assert "<title>detox_sim: Explore</title>" in odd
    for document in (first, second, refused, odd):
        shown = document.partition("<main>")[2].partition("<script")[0]
        assert re.search("NaN|undefined|Infinity", shown) is None
        assert "<img" not in shown


def test_policy_has_the_digest_of_the_script(smoke):
    page = (smoke[0] / "report" / "explore.html").read_text()
    (script,) = SCRIPT.findall(page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"; script-src 'sha256-{digest}'\"" in page.partition("<body>")[0]


def test_tables_in_the_page_end_no_element():
    assert "<" not in explorer.as_json({"</script>": ["<!--", "<script>"]})
