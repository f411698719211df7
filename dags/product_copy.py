"""# Product copy: a text per product, channel and language

Each of the `products` gets a text for four channels in two languages in `product_texts`. A text that is too long for
its channel does not count as an answer, and is requested again.
"""

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from greennode_airflow.pipeline import batch_table
from greennode_batch.job import BatchJob, SqlSource, SqlTarget

MAX_CHARACTERS = {"shop_page": 900, "facebook": 400, "email": 600, "sms": 160}


class ProductText(BaseModel):
    written_for: Literal["shop_page", "facebook", "email", "sms"]
    title: str = Field(min_length=3, max_length=60)
    body: str = Field(min_length=20)
    hashtags: list[str] = Field(max_length=5)

    @model_validator(mode="after")
    def _fits_its_channel(self) -> "ProductText":
        if len(self.body) > (limit := MAX_CHARACTERS[self.written_for]):
            raise ValueError(f"body has {len(self.body)} characters; {self.written_for} takes {limit}")
        return self


JOB = BatchJob(
    name="product_copy",
    source=SqlSource(conn_id="warehouse", sql="product_copy/source.sql", tables=("products",)),
    key=("product_id", "channel", "language"),
    model="google/gemma-4-31b-it",
    prompt="product_copy/prompt.md",
    answer=ProductText,
    params={"max_tokens": 600, "temperature": 0.7},
    target=SqlTarget(conn_id="warehouse", table="product_texts"),
)
dag = batch_table(JOB, doc_md=__doc__)
