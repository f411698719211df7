# One image for every service: Airflow 3.3.2, the pinned requirements, and this project installed editable.
FROM apache/airflow:3.3.2-python3.12

COPY --chown=airflow:0 requirements.txt /opt/airflow/project/
RUN pip install --no-cache-dir -r /opt/airflow/project/requirements.txt

COPY --chown=airflow:0 pyproject.toml README.md LICENSE /opt/airflow/project/
COPY --chown=airflow:0 docs /opt/airflow/project/docs
COPY --chown=airflow:0 include /opt/airflow/project/include
COPY --chown=airflow:0 plugins /opt/airflow/project/plugins
COPY --chown=airflow:0 dags /opt/airflow/project/dags
COPY --chown=airflow:0 docker /opt/airflow/project/docker
# Editable, so that the provider and the plugin are registered by their entry points.
RUN pip install --no-cache-dir --no-deps -e /opt/airflow/project

ENV PYTHONPATH=/opt/airflow/project/include:/opt/airflow/project/plugins \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/airflow/project/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/airflow/project/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
# A volume takes over the owner of the folder that it is mounted on.
RUN mkdir -p /opt/airflow/auth /opt/airflow/emulator
