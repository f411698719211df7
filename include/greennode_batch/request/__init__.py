"""A row -> its request line."""
