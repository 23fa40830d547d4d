"""What ``claims.toml`` may say, and that every claim is either decided or said to be untested."""

import pytest

import studies
from studies.evidence import entries, verdicts
from studies.evidence.decisions import SCALES

GOOD = """
[[claim]]
id = "first"
text = "t"
where = "w"
tag = "M"
reported = "r"
"""


def test_every_claim_has_one_decision_or_says_why_it_is_untested():
    ids = [claim.id for claim in entries.read()]
    assert sorted(ids) == sorted([*verdicts.DECISIONS, *verdicts.UNTESTED])


def test_every_decision_names_a_study_its_profiles_and_its_statement():
    for name, decision in verdicts.DECISIONS.items():
        known = studies.load(decision.study).profiles
        assert "laptop" in known, name
        assert set(decision.profiles) <= set(studies.PROFILES), name
        assert set(decision.profiles) & set(known), name
        assert decision.scale in SCALES.values(), name
        assert (decision.decide.__doc__ or "").strip(), name


def test_reported_numbers_are_those_of_table_1_and_figure_5():
    claims = {claim.id: claim for claim in entries.read()}
    assert claims["table-1-resnet18-median"].reported == "43.7 -> 86.21 %"
    assert claims["table-1-vgg13-bulyan"].reported == "11.06 -> 46.82 %"
    assert claims["figure-5-vgg13"].reported == "2.12 -> 40.37 %"
    for name in (name for name in claims if name.startswith(("table-1", "figure-5"))):
        *low, high = (float(part.strip(" %")) for part in claims[name].reported.split("->"))
        difference = (high - sum(low)) / 100
        assert claims[name].number == pytest.approx(difference), name


def test_malformed_file_is_one_error_that_names_the_claim_and_the_key(tmp_path):
    path = tmp_path / "claims.toml"
    for old, new, match in (
        ('tag = "M"', 'tag = "Q"', "claim first.*tag"),
        ('tag = "M"', "tag = 3", "claim first: tag must be a string"),
        ('tag = "M"', "", "claim first: tag is missing"),
        ('text = "t"', 'text = "t"\nnumbr = 1.0', "claim first.*did you mean 'number'"),
        ('text = "t"', 'text = "t"\nnumber = "1"', "claim first: number must be a number"),
        ('text = "t"', 'text = "t"\nnumber = true', "claim first: number must be a number"),
        (GOOD, GOOD + GOOD, "claim first: the id occurs twice"),
        (GOOD, "[[claim", r"claims\.toml"),
    ):
        path.write_text(GOOD.replace(old, new, 1))
        with pytest.raises(ValueError, match=f"(?s){match}"):
            entries.read(path)
    path.write_text(GOOD)
    assert [claim.id for claim in entries.read(path)] == ["first"]
    with pytest.raises(ValueError, match=r"absent\.toml"):
        entries.read(tmp_path / "absent.toml")
