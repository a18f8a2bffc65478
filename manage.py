#!/usr/bin/env python
"""The command line of the server: `serve`, `create_api_key`, `create_member`, `sign_in_link`, and Django's own."""

import os
import sys


def main() -> None:
    """Hand the arguments over to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "soorma_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
