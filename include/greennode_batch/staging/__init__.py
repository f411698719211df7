"""Files that land whole, locally or in an object store."""
