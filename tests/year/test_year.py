"""Some weeks of runs in a pull request; `make year` has thousands of steps."""

from tests.year.years import play


def test_whatever_happens_the_tables_are_what_the_model_says():
    play(steps=240, seed=14)
