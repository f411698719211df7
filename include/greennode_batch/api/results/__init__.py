"""Lines of result files -> ResultLine or Anomaly."""
