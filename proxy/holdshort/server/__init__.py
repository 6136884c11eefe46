"""The one place that constructs: everything else is given what it needs.

`core` builds what every process has, `serve` puts it behind one HTTP port, `wrap` behind standard input. Nothing is
imported here: a `wrap` need not pay for the web framework that `serve` needs.
"""
