"""Holdshort: an MCP proxy that enforces approval policy.

A gate asks a pure policy what to do with each call; a parked call is a row in a table machine; a person answers
over HTTP; the agent comes back and the call runs once. The map of the packages is `proxy/README.md`.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
