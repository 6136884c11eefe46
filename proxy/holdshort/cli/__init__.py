"""The command line: turns words into calls."""

__all__ = ["main"]


def main() -> None:
    """Run the `holdshort` command."""
    raise SystemExit(2)
