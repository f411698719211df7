"""A row becomes a request line.

job_request           a job's messages and parameters, before there are rows
prompt                a Jinja template over a row's columns
prompt_environment    the Jinja environment of all prompts
prompt_files          prompts in files, and the files that they include
message_slots         the strings of the messages, each with its template
body_template         a request body as constant bytes and slots
body_json             values and texts as JSON for a request body
data_urls             bytes of images and PDFs as data URLs
row_params            parameters whose values come from columns
token_limits          the longest answer that each request allows
request_lines         a batch of requests, and the template that renders them
request_templates     one template for each model of a job
rendered_batch        rows with their requests, stored for another task
needed_columns        the columns that a job needs from its source
shown_message         a message as text for a person
token_counter         prompt tokens by a model's own tokenizer
"""
