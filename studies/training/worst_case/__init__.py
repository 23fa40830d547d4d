"""Pairs of a redundancy scheme and a rule: how they are tuned, attacked, compared and drawn."""
