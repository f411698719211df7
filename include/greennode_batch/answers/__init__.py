"""The text of a model -> typed values, and what became of the request."""
