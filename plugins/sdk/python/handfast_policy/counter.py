"""Metrics. A component that imports this must be granted it: ``grants = ["counter"]``."""

from wit_world.imports import counter as _counter


def add(name: str, delta: int = 1) -> None:
    """Adds to ``handfast_policy_counter_total{policy, name}``. A policy has at most 64 names, of ``[a-z0-9_]``."""
    _counter.add(name, delta)
