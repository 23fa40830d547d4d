"""The paper's claims, and the rules that decide whether our datasets support them.

`entries` reads what the paper says, `accuracy`, `times` and `theory` hold one short function for
each claim or kind of claim, `results` and `compare` have the selections and the statistics they
share, `decisions` says what decides a claim and at which scale, and `verdicts` picks the dataset
and turns what it says into a verdict.
"""
