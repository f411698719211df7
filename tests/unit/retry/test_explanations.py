import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.retry.explanations import explained

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGES = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), min_size=1)
BODY = st.builds(
    lambda rest, messages: {**rest, "messages": messages}, st.dictionaries(TEXT, st.integers() | TEXT), MESSAGES
)


@given(body=BODY, said=st.tuples(TEXT, TEXT))
def test_an_explanation_comes_after_the_messages_and_changes_nothing_else(body, said):
    line = msgspec.json.encode({"custom_id": "c", "method": "POST", "body": body}) + b"\n"
    both = tuple(msgspec.Raw(json.dumps(words).encode()) for words in said)
    longer = explained(line, both)
    assert longer.count(b"\n") == 1
    assert json.loads(longer) == {
        "custom_id": "c", "method": "POST", "body": {**body, "messages": [*body["messages"], *said]},
    }  # fmt: skip
    assert longer.replace(b"," + both[0] + b"," + both[1] + b"]", b"]", 1) == line
