#!/usr/bin/env bash
# Run once for each start of the compose stack: the database's tables, the pool, and the password of the user admin.
set -euo pipefail
airflow db migrate
# A pool whose slots somebody has changed stays as it is.
airflow pools get greennode > /dev/null 2>&1 ||
    airflow pools set greennode 20 "GreenNode batches" --include-deferred
umask 077
python - <<'END'
import json, os

path = os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]
with open(path, "w") as file:
    json.dump({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}, file)
END
