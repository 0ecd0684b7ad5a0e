"""Exit code 0 when the address given answers 200: a container's health check, without curl in the image."""

import sys
import urllib.error
import urllib.request

try:
    with urllib.request.urlopen(sys.argv[1], timeout=4) as answer:
        sys.exit(0 if answer.status == 200 else 1)
except (OSError, urllib.error.URLError) as error:
    sys.exit(f"{sys.argv[1]}: {error}")
