"""Benchmarks: every figure is a ratio against a peer in the same run (DESIGN section 6).

``_measure`` alternates ours and the peer's and prints median, minimum and maximum with the command that gives
the figure again. Each other module is one subject with a ``main()``: ``scripts/bench NAME`` runs it,
``scripts/bench`` runs all of them.
"""
