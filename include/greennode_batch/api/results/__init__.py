"""Result files: bytes -> lines -> ResultLine or Anomaly. Nothing here raises, whatever the bytes.

result_document  lines of a file that is one JSON document or a ZIP
result_lines    splits a file into lines, and parses lines of the usual shape fast
tolerant_lines  parses lines of any other shape
normal_shape    rewrites a line of a server's own shape to the usual one, by a profile
result_line     ResultLine and Anomaly, the two kinds of line
"""
