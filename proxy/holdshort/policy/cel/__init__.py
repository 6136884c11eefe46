"""Conditions in the Common Expression Language: parsed, checked and bounded here, and only then given to an engine."""

__all__: list[str] = []
