import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.tables.open_table import sql_table


def test_a_connection_of_another_driver_is_refused():
    with pytest.raises(ConfigError, match="table answers: builtins has no built-in dialect; pass an SQLAlchemy engine"):
        sql_table(object(), "answers", ("id",))
