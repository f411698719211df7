"""Which rows the target has answered already."""
