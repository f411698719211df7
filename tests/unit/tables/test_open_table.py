import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.tables.open_table import sql_table


def test_a_connection_of_another_driver_is_refused():
    with pytest.raises(ConfigError, match="a target on builtins needs an engine of SQLAlchemy"):
        sql_table(object(), "answers", ("id",))
