"""Results and source rows go into the targets.

join          each source row of a shard meets the result of its request (result_parts: some megabytes at a time)
final_outcomes  for which of them the target remembers that there is no answer
joined_rows   the note of what one shard put into the targets
targets       a shard's rows into each target; a table in one transaction, a dataset file by file
dataset       a folder of Parquet files as a target (dataset_files, partitions, parquet_files)
answer_file   one Parquet file as a target
file_lookup   what files have answered, and rows in whose place others stand (answer_index)
runs_table    a row for each run and model
harvest       what an earlier run of the same id has paid for
"""
