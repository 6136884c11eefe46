"""The one place that constructs: everything else is given what it needs.

`core` builds what every process has, `serve` puts it behind one HTTP port, `wrap` behind standard input.
"""

from holdshort.server.serve import Serving, serve
from holdshort.server.wrap import wrap

__all__ = ["Serving", "serve", "wrap"]
