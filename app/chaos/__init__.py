"""The product under fire: `longhand serve`, a stand-in for Claude that fails on purpose, kills, and what held.

`kinds` are the reports that are ordered and what goes wrong with each, `standin` plays Claude, `play` runs it all and
gathers the evidence, `promises` judges it.
"""
