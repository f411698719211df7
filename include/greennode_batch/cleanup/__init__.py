"""What a run leaves behind goes: files at the API, folders in staging."""
