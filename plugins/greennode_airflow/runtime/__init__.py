"""What a task needs of its run: its folder, its source, its targets, their databases."""
