import inspect

from greennode_batch import errors


def test_every_error_of_the_tree_says_whether_its_step_is_worth_a_retry():
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Exception)]
    assert all(issubclass(one, errors.GreenNodeError) for one in classes)
    assert {one.__name__ for one in classes if not one.is_retryable} == {
        "AccountingError",
        "BudgetError",
        "ConfigError",
        "CreditError",
        "FailedRowsError",
        "RejectedError",
        "RowError",
        "SystematicFailureError",
        "UnreadResultsError",
    }
    assert {one.__name__ for one in classes if one.is_retryable} == {
        "AmbiguousError",
        "ApiError",
        "AuthError",
        "BusyError",
        "GreenNodeError",
        "NotFoundError",
        "RetryableError",
        "SplitError",
        "UnfinishedError",
    }
