"""A whole local deployment from real parts, on a bare machine: `make demo`, `make ui` and the system tests use it.

    ports, credentials, processes        what the parts stand on
    postgres    emulator                 the warehouse and Airflow's database; GreenNode in the small
    airflow_home -> airflow_database     settings and secrets; migrated once, copied per deployment
      -> airflow_services -> airflow_client   the four components; what we ask of them over REST
    stack                                all of it, as one context manager
    samples -> demo, ui                  data to try it on; what `python -m greennode_local` does

Nothing here imports Airflow: it runs in processes of its own and is spoken to over its REST API.
"""
