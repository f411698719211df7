#!/usr/bin/env bash
# Run once for each start of the compose stack: the database's tables, and the password of the user admin.
set -euo pipefail
airflow db migrate
umask 077
python - <<'END'
import json, os

path = os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]
with open(path, "w") as file:
    json.dump({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}, file)
END
