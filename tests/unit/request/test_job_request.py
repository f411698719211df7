from __future__ import annotations

import pytest
from pydantic import BaseModel

from greennode_batch.api.profile import ApiProfile
from greennode_batch.request.job_request import job_request
from greennode_batch.request.prompt_files import PromptText

IN_PROMPT = ApiProfile(json_schema="prompt")


class Label(BaseModel):
    kind: str


def test_contents_and_the_texts_of_parts_may_lie_in_files(jobs, make_job):
    (jobs / "system.md").write_text("{% include 'rules.md' %}")
    (jobs / "rules.md").write_text("For {{ product }}.")
    (jobs / "question.md").write_text("What is {{ text }}?")
    messages = [
        {"role": "system", "content": "system.md"},
        {"role": "user", "name": "name.md", "content": [{"type": "text", "text": "question.md"}]},
    ]
    made = job_request(make_job(prompt=None, messages=messages), ApiProfile())
    assert made.messages == [
        {
            "role": "system",
            "content": PromptText("system.md", "{% include 'rules.md' %}", {"rules.md": "For {{ product }}."}),
        },
        {"role": "user", "name": "name.md", "content": [{"type": "text", "text": "What is {{ text }}?"}]},
    ]


def test_the_prompt_hash_covers_all_messages_their_files_and_the_fields_of_a_row(jobs, make_job):
    (jobs / "prompt.md").write_text("{% include 'rules.md' %}")
    (jobs / "rules.md").write_text("Be kind.")

    def hash_of(**job):
        return job_request(make_job(**job), job.pop("profile", ApiProfile())).prompt_hash

    made = [hash_of(prompt="prompt.md"), hash_of(prompt="prompt.md", system="x"),
            hash_of(prompt="prompt.md", row_params={"seed": "id"})]  # fmt: skip
    (jobs / "rules.md").write_text("Be brief.")
    made += [hash_of(prompt="prompt.md"), hash_of(prompt="Be brief.")]
    assert len(set(made)) == len(made)
    assert hash_of(prompt="prompt.md") == hash_of(prompt="prompt.md", params={"max_tokens": 5}) == made[3]


def test_a_field_from_a_column_goes_by_the_name_that_the_api_takes(make_job):
    job = make_job(row_params={"max_tokens": "words", "seed": "id"})
    made = job_request(job, ApiProfile(token_parameter="max_completion_tokens"))
    assert made.row_params == {"max_completion_tokens": "words", "seed": "id"}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("Be brief.", "Be brief.\n\n"),
        ([{"type": "text", "text": "Be brief."}], None),
    ],
)
def test_the_schema_follows_whatever_the_system_message_is(make_job, content, wanted):
    job = make_job(prompt=None, messages=[{"role": "system", "content": content}], answer=Label)
    said = job_request(job, IN_PROMPT).messages[0]["content"]
    text = said if wanted else said[-1]["text"]
    assert text.startswith(f"{wanted or ''}{{% raw %}}Answer with one JSON object")
    assert job_request(job, ApiProfile()).messages == [{"role": "system", "content": content}]
