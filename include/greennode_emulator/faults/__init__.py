"""What can go wrong on demand, as data; armed with `POST /_emulator/faults` or by a scenario file.

    kinds: call_faults | file_faults | batch_faults | line_faults -> board (what is armed, and what it strikes)
    call_acts and bodies act out faults of calls, line_acts those of lines; batch and file faults are kept on the
    record that they struck, and are looked at where the batch or the file is

A fault is a small struct whose class name, in snake_case, is its `kind`. A run with the same faults, seeds and
files goes wrong in the same places.
"""
