"""Sends a few two-line batches to a server to find out how it speaks, and prints the profile for the connection.

probe_run      the steps in their order; ends, resumes and cleans up
session        one call: bounded in cost, recorded, never raises for a server's answer
recorder       an exchange -> NN-name.json, without the key
state          everything that is known so far; saved as resume.json
tiny_requests  the few request lines and chats that are sent
chat_steps     models, chat, structured output, a refusal
file_steps     upload, read, list and delete files
batch_steps    create batches, each once
watch_steps    one poll of a batch
wait_steps     wait for batches to end
list_steps     the list of batches and its pages
result_steps   result files, one bad line, what a cancelled batch leaves
ending_steps   cancel and delete
variants       what to try next after a refusal (pure)
shapes         a JSON reply -> words (pure)
places         a JSON reply -> the path of a value in it (pure)
airflow_api    where Airflow's API is: environment variables
saved_profile  what was found -> an Airflow connection
found          what worked -> nearest preset and overrides (pure)
probe_report   state -> text (pure)
"""
