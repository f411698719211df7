"""When to ask how a batch is, and which ones next."""
