"""The description of the API (OpenAPI 3.1): a table of what each route takes and answers, beside `app/routes/`."""
