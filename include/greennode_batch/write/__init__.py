"""Write results and source rows into the targets.

join            joins each source row of a shard with the result of its request
result_parts    a shard's latest results, a part at a time
refused_answers  which answers of a shard a target refused at the write
final_outcomes  which outcomes the target remembers as final
joined_rows     counts joined rows and writes joined.json
target_writer   writes a shard's rows into each target
dataset         a folder of Parquet files as a target
dataset_schema  the one schema of a dataset's files
dataset_files   writes the files of one shard, one per partition
partitions      splits rows into Hive partitions
answer_file     a single Parquet file as a target
text_answer_file  a single CSV or JSON Lines file as a target
text_rows       rows as CSV or JSON Lines, and back
parquet_files   ParquetFiles: what a dataset and a single file have in common
file_lookup     finds which rows Parquet files have answered, and removes replaced rows
answer_index    an index of file rows by key, on local disk
runs_table      the table of runs: one row per run and model
harvest         collects and writes what a deleted run of the same id has paid for
"""
