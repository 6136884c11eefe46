"""The gate: the one place where a call is let through, refused or parked."""
