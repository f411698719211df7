import pytest

from greennode_batch.errors import BudgetError
from greennode_batch.staging.folders import run_folder, write_json
from greennode_batch.state.approval_record import Approval, refuse_rejected

AT = 1_769_860_800.0  # 2026-01-31 12:00 UTC


@pytest.fixture
def run(tmp_path):
    return run_folder(tmp_path / "staging", "job", "run")


def test_it_is_told_who_said_what_to_which_sum_and_when():
    assert str(Approval(12_345.6, "VND", approved=True, by="anna", at=AT)) == (
        "anna approved the estimated 12,346 VND on 2026-01-31 at 12:00 UTC"
    )
    assert "anna rejected" in str(Approval(1, "VND", approved=False, by="anna", at=AT))


@pytest.mark.parametrize("approved", [True, None])
def test_a_run_goes_on_unless_a_person_has_said_no(run, approved):
    refuse_rejected(run)
    write_json(run.approval, Approval(1, "VND", approved=approved))
    refuse_rejected(run)


def test_a_run_that_was_rejected_says_by_whom_and_the_way_out(run):
    write_json(run.approval, Approval(1, "VND", approved=False, by="anna", at=AT))
    with pytest.raises(BudgetError, match=r"^anna rejected .*: nothing was submitted .* clear approve_spend"):
        refuse_rejected(run)
