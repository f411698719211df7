"""What GreenNode adds to Airflow's own pages."""
