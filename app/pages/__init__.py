"""The pages: handlers that answer HTML to a browser, and take its forms."""
