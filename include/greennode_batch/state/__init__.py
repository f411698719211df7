"""Every JSON document of staging, as a struct. Nothing here loads Arrow."""
