"""`python -m holdshort` is the `holdshort` command."""

from holdshort.cli import main

if __name__ == "__main__":
    main()
