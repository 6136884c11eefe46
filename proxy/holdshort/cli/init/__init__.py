"""`holdshort init`: from the servers that somebody has to files that put them behind policy.

`clients` reads what is given, in the words of many clients; `secrets` keeps tokens out of what is written; `sorting`
and `packs` say which tools run and which ask; `*_text` has the texts, and `placing` puts all files there, or none.
"""

from holdshort.cli.init.command import InitCommand, init_command

__all__ = ["InitCommand", "init_command"]
