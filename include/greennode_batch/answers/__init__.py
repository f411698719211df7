"""A model's text becomes typed values, and each request gets an outcome.

outcome          what became of one request, from its result line
answer_reader    the values of an answer, or why the text is not a valid answer
answer_columns   the columns of an answer model, and what they cannot hold
declared_values  values of Literal and Enum, as the answer model spells them
latex_in_json    commands of LaTeX whose backslash JSON reads as an escape
answer_schema    the JSON schema of an answer model, as a request states it
schema_model     a JSON schema -> an answer model
json_in_text     JSON values inside a text
reasoning        what a model thought, split off from what it answered
tool_calls       tool calls as an answer
final_outcome    which outcomes only a different request can change
"""
