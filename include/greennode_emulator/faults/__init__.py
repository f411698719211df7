"""What can go wrong on demand, as data; armed with `POST /_emulator/faults` or by a scenario file.

    fault         what all faults have in common
    kinds         all kinds of faults, and how to read them
    call_faults   the next calls of one endpoint go wrong (call_acts: how)
    file_faults   strike the next uploads and stay with the file
    batch_faults  strike the next batches and stay with them, over restarts too
    line_faults   strike lines of result files (line_plan: which; line_acts: how)
    board         what is armed, in the order in which it will strike

A fault is a small struct whose class name, in snake_case, is its `kind`. A run with the same faults, seeds and
files goes wrong in the same places.
"""
