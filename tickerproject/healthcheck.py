"""`python -m tickerproject.healthcheck`: the container's health check, since a slim image has no curl.

Kept free of Django: it runs every 30 seconds.
"""

import http.client
import os
import sys


def main() -> int:
    """0 when this container's web process answers `/health/live`, else 1."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "8080")), timeout=5)
    try:
        connection.request("GET", "/health/live", headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
        return 0 if connection.getresponse().status == 200 else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
