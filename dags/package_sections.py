"""
# Package sections: sort software packages into Debian's sections

Reads `packages` (key: package and version, because a name alone occurs twice), asks the model for the section that a
package belongs to, and writes one row per package and version into `package_labels`.

The query is `include/jobs/package_sections/source.sql`, the prompt `include/jobs/package_sections/prompt.md`.
"""

from pydantic import BaseModel, Field

from greennode_airflow.pipeline import batch_table
from greennode_batch.job import BatchJob, SqlSource, SqlTarget


class PackageLabel(BaseModel):
    section: str = Field(max_length=40)
    confidence: float = Field(ge=0, le=1)


JOB = BatchJob(
    name="package_sections",
    source=SqlSource(conn_id="warehouse", sql="package_sections/source.sql", tables=("packages",)),
    key=("package", "version"),
    model="google/gemma-4-31b-it",
    prompt="package_sections/prompt.md",
    answer=PackageLabel,
    params={"max_tokens": 60, "temperature": 0},
    target=SqlTarget(conn_id="warehouse", table="package_labels"),
)

dag = batch_table(JOB, doc_md=__doc__)
