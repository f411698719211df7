"""Airflow API: the environment variables that say where it is, and how to log in there."""

URL_VARIABLE = "AIRFLOW_API_URL"
TOKEN_VARIABLE = "AIRFLOW_API_TOKEN"  # noqa: S105 - the name of a variable, not a secret
USER_VARIABLES = ("AIRFLOW_API_USERNAME", "AIRFLOW_API_PASSWORD")
DEFAULT_URL = "http://localhost:8080"
HELP = (
    f"Airflow's API is at {URL_VARIABLE} (default: {DEFAULT_URL}); log in with {TOKEN_VARIABLE}, or with "
    f"{' and '.join(USER_VARIABLES)}"
)
