"""Table -> shards: source, prompt, request_lines, shards, and plan, which writes down what was built."""
