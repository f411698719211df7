"""Removes what a run leaves behind.

remote_files  files and batches at the API, once their results are safe
retention     folders of old, finished runs in staging
"""
