"""django-post-office for the bench; runs on an interpreter that has Django and nothing of ours.

Commands: `migrate`, `enqueue COUNT`, `send`. Settings come from the environment.
"""

import json
import os
import sys
import time

import django
from django.conf import settings
from django.core.management import call_command

_PROCESSES = 2
_THREADS = 5
_BATCH = 1000
_INSERTED_AT_ONCE = 500


def main() -> None:
    """Do what the arguments say."""
    options = json.loads(os.environ["BENCH_POST_OFFICE"])
    settings.configure(
        DATABASES={
            "default": {"ENGINE": "django.db.backends.postgresql", **options["database"]},
        },
        INSTALLED_APPS=["django.contrib.contenttypes", "post_office"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        USE_TZ=True,
        EMAIL_BACKEND="post_office.EmailBackend",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=options["port"],
        POST_OFFICE={
            "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
            "BATCH_SIZE": _BATCH,
            "THREADS_PER_PROCESS": _THREADS,
        },
    )
    django.setup()
    command = sys.argv[1]
    if command == "migrate":
        call_command("migrate", verbosity=0)
    elif command == "enqueue":
        _enqueue(int(sys.argv[2]), options["html"])
    elif command == "send":
        # Of the monotonic clock, which all processes share.
        print(time.monotonic(), flush=True)
        call_command("send_queued_mail", processes=_PROCESSES)
    else:
        raise SystemExit(f"unknown command {command}")


def _enqueue(count: int, html: str) -> None:
    # Its tables exist only once Django is set up.
    from post_office import mail

    for first in range(0, count, _INSERTED_AT_ONCE):
        mail.send_many(
            [
                {
                    "recipients": [f"r{number}@example.net"],
                    "sender": "hello@example.com",
                    "subject": f"Receipt {number}",
                    "html_message": html,
                }
                for number in range(first, min(count, first + _INSERTED_AT_ONCE))
            ]
        )


if __name__ == "__main__":
    main()
