"""What can be watched: metrics, lineage, assets, alerts, links."""
