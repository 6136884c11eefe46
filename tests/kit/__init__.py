"""What the tests drive the proxy with: real servers, real clients, real processes. Nothing here is shipped."""
