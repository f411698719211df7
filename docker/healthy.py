#!/usr/bin/env python
"""Whether a component of Airflow is well, by what the API server says of its heartbeat: `healthy.py scheduler`."""

import json
import sys
import urllib.request

URL = "http://api-server:8080/api/v2/monitor/health"

with urllib.request.urlopen(URL, timeout=8) as reply:
    sys.exit(json.load(reply)[sys.argv[1]]["status"] != "healthy")
