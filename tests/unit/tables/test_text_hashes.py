"""Stored hashes stay valid, whichever way made them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pandas.util import hash_array

from greennode_batch.tables.text_hashes import few_hashes

KEY = "greennode a text"


@given(st.lists(st.text() | st.binary(max_size=300), min_size=1))
def test_few_texts_have_the_hashes_that_pandas_gives_many(texts):
    encoded = [text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass") for text in texts]
    expected = hash_array(np.array(encoded, np.object_), hash_key=KEY, categorize=False)
    assert few_hashes(encoded, KEY).tolist() == expected.tolist()


def test_no_texts_have_no_hashes():
    assert few_hashes([], KEY).size == 0
