"""The HTTP API: one module a subject, its routes in a list at its foot."""
