import pytest

from greennode_batch.cli.command_line import make_parser

ENOUGH = ("run", "--in", "a.csv", "--key", "id", "--model", "m", "--out", "o.csv", "--base-url", "u", "--staging", "s")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("run", "--promt", "x"),
            "there is no option --promt (did you mean --prompt?). See greennode-batch run --help",
        ),
        (("run", "--max-row=3"), None),
        ((*ENOUGH, "--limt=3", "--dryrun"), "no option --limt (did you mean --limit?); there is no option --dryrun"),
        (("probe", "--base_url", "u"), "no option --base_url (did you mean --base-url?)"),
        (("preview", "--zzz"), "there is no option --zzz. See greennode-batch preview --help"),
    ],
)
def test_a_misspelt_option_is_named_before_what_is_missing(arguments, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        make_parser().parse_args(arguments)
    said = capsys.readouterr().err
    assert f"usage: greennode-batch {arguments[0]}" in said
    assert words in said if words else "are required" in said


def test_a_value_may_begin_with_dashes_and_an_option_may_be_shortened():
    options = make_parser().parse_args([*ENOUGH, "--enc=--x", "--prompt", "-- a text"])
    assert (options.encoding, str(options.prompt)) == ("--x", "-- a text")
