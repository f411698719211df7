"""Files that land whole, on local disk or in an object store.

folders     the folders and files of a run, and how to read and write them
stores      which object stores hold staging, and what each needs
exclusive   create a file only if nobody else has
modes       permissions of files and folders on local disk
parquet     Parquet files in staging
spill_file  a temporary file of Python objects, read back in order
"""
