"""The web page, rendered by the server: one module a subject, its routes in a list at its foot."""
