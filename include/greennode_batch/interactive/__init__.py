"""What a person watches: a run on this machine, how far it is, and a trial of the first rows.

api_key    the key, from the environment
local_run  a run that is known by its content, and goes on where it was stopped
progress   how far a run is, as bars of a terminal or as plain lines
trial      the first rows answered live and shown, with nothing written
"""
