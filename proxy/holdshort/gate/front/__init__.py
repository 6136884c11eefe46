"""Where clients come in: streamable HTTP of both eras, HTTP with SSE, standard input. Nothing is decided here."""
