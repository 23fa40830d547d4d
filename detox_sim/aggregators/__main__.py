"""Print the table of rules: ``python -m detox_sim.aggregators``."""

from detox_sim.aggregators.facts import as_markdown

print(as_markdown())
