"""# Model evaluation: which model answers best, by labels and by a judge

Three models answer `wallet_messages`, a fourth one rates each reply, and a page compares them.
"""

from typing import Literal

from airflow.sdk import DAG
from pydantic import BaseModel

from greennode_airflow.form import form_params
from greennode_airflow.operators import GreenNodeEvaluationReportOperator
from greennode_airflow.pipeline import batch_table_group, described
from greennode_batch.analysis.evaluation.judge import judge_of
from greennode_batch.job import BatchJob, SqlSource, SqlTarget


class WalletAnswer(BaseModel):
    intent: Literal["balance", "transfer_failed", "refund", "card_blocked", "fees", "limits", "fraud", "other"]
    reply: str


JOB = BatchJob(
    name="answers",
    source=SqlSource(conn_id="warehouse", sql="model_evaluation/source.sql", tables=("wallet_messages",)),
    key="message_id",
    model=["google/gemma-4-31b-it", "qwen/qwen3.6-flash", "zai/glm-5.2"],
    prompt="model_evaluation/prompt.md",
    answer=WalletAnswer,
    params={"max_tokens": 300, "temperature": 0},
    target=SqlTarget(conn_id="warehouse", table="wallet_answers"),
)
JUDGE = judge_of(JOB, sql="model_evaluation/judge.sql", prompt="model_evaluation/judge.md", model="openai/gpt-oss-120b")
COMPARED = SqlSource(conn_id="warehouse", sql="model_evaluation/evaluation.sql")
PAGE = {"params": form_params([JOB, JUDGE]), **described(__doc__)}

with DAG("model_evaluation", schedule=None, max_active_runs=1, tags=["greennode"], **PAGE) as dag:
    report = GreenNodeEvaluationReportOperator(task_id="evaluation_report", job=JOB, source=COMPARED)
    batch_table_group(JOB) >> batch_table_group(JUDGE) >> report
