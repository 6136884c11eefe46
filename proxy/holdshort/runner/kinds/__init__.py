"""How each kind of call is settled: one module for each, with one function `settle(desk, tool, call)`."""
