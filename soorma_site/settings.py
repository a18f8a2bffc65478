"""Django settings, all from the environment (docs/configuration.md); the defaults need nothing but Python."""

import hashlib
import secrets
from functools import partial
from pathlib import Path

import dj_database_url
from csp.constants import NONCE, SELF

from soorma_site.env import backend, flag, ledger_processes, names, read, seconds
from soorma_site.logs import log_format, logging_settings

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = read("SOORMA_DATA_DIR", "var", "Folder of the SQLite file, the secret key and the logs", Path)
DATA_DIR = DATA_DIR if DATA_DIR.is_absolute() else BASE_DIR / DATA_DIR
DATA_DIR.mkdir(parents=True, exist_ok=True)


def _kept_secret() -> str:
    """The secret key of this installation: made once, kept in the data folder, readable by its owner alone."""
    path = DATA_DIR / "secret_key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(50))
    return path.read_text().strip()


DEBUG = read("DEBUG", "0", "Show errors in full and the /design page; never in production", flag)
SECRET_KEY = (
    read("SECRET_KEY", "", "Signs sessions; empty: made once and kept in the data folder", str) or _kept_secret()
)
ALLOWED_HOSTS = read("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]", "Host names the server answers to", names)
CSRF_TRUSTED_ORIGINS = read("CSRF_TRUSTED_ORIGINS", "", "Origins behind a TLS proxy, with scheme", names)
DATABASE_URL = read(
    "DATABASE_URL", "", "PostgreSQL as postgres://user:password@host/name; empty: SQLite in the data folder", str
)
REDIS_URL = read("REDIS_URL", "", "Redis for several server processes; empty: one process, in memory", str)
SQLITE_SYNCHRONOUS = read(
    "SOORMA_SQLITE_SYNCHRONOUS", "NORMAL", "NORMAL survives the death of the process, FULL that of the machine", str
).upper()
LOG_LEVEL = read("SOORMA_LOG_LEVEL", "INFO", "Least severity that is logged: DEBUG, INFO, WARNING, ERROR", str).upper()
LOG_FORMAT = read("SOORMA_LOG_FORMAT", "console", "How lines of the log look: console, json", log_format)
METRICS_TOKEN = read(
    "SOORMA_METRICS_TOKEN", "", "Bearer token that GET /metrics asks for; empty: only this machine may read it", str
)

MAX_BODY_BYTES = read("SOORMA_MAX_BODY_BYTES", "8388608", "Largest request body in bytes; over it 413", int)
MAX_EVENT_BYTES = read("SOORMA_MAX_EVENT_BYTES", "1048576", "Largest event envelope in bytes; over it 413", int)
MAX_BATCH_EVENTS = read("SOORMA_MAX_BATCH_EVENTS", "1000", "Most events in one batch; over it 413", int)
WRITER_QUEUE = read(
    "SOORMA_WRITER_QUEUE", "10000", "Changes that may wait for the writer; over it 503 with Retry-After", int
)
LEDGER_PROCESSES = read(
    "SOORMA_LEDGER_PROCESSES",
    "auto",
    "Processes for the ledger beside the server's, 0: none; auto: 1, on PostgreSQL 2, none on a single core",
    partial(ledger_processes, sqlite=not DATABASE_URL),
)
WAITING_SECONDS = read(
    "SOORMA_WAITING_SECONDS", "86400", "How long requests and results wait for an agent name that is away", int
)
WAITING_MESSAGES = read(
    "SOORMA_WAITING_MESSAGES", "10000", "How many requests and results wait for one agent name that is away", int
)
STREAM_HEARTBEAT_SECONDS = read(
    "SOORMA_STREAM_HEARTBEAT_SECONDS", "15", "Silence on an event stream before a heartbeat is sent", int
)
STREAM_BUFFER = read(
    "SOORMA_STREAM_BUFFER", "1000", "Messages that may wait in the server for one connected agent", int
)
AGENT_TTL_SECONDS = read(
    "SOORMA_AGENT_TTL_SECONDS", "300", "How long after its last heartbeat an agent counts as live", int
)

BASE_URL = read("SOORMA_BASE_URL", "", "Address of this server in mails and webhooks, as https://host", str).rstrip("/")
WEBHOOK_RETRIES = read(
    "SOORMA_WEBHOOK_RETRIES", "5,300,1800,7200,18000,28800,28800", "Pauses between tries of a webhook, seconds", seconds
)
WEBHOOK_TIMEOUT = read("SOORMA_WEBHOOK_TIMEOUT", "10", "Seconds that one try of a webhook may take", float)
WEBHOOK_DISABLE_AFTER = read(
    "SOORMA_WEBHOOK_DISABLE_AFTER", "5", "Deliveries given up in a row after which an endpoint is turned off", int
)
WEBHOOK_LOG_DAYS = read("SOORMA_WEBHOOK_LOG_DAYS", "30", "Days that a delivery is kept after its end", int)
WEBHOOKS_ALLOW_PRIVATE = read(
    "SOORMA_WEBHOOKS_ALLOW_PRIVATE", "0", "Let webhooks go to private, loopback and link-local addresses", flag
)
EMAIL_BACKEND = read(
    "SOORMA_EMAIL_BACKEND", "", "smtp, console, file, or the path of one of Django's kind; empty: no mail", backend
)
MAIL_ENABLED = bool(EMAIL_BACKEND)
EMAIL_FROM = read("SOORMA_EMAIL_FROM", "soorma@localhost", "Sender of the mails", str)
EMAIL_HOST = read("SOORMA_EMAIL_HOST", "localhost", "Mail server", str)
EMAIL_PORT = read("SOORMA_EMAIL_PORT", "25", "Its port", int)
EMAIL_HOST_USER = read("SOORMA_EMAIL_USER", "", "User at the mail server", str)
EMAIL_HOST_PASSWORD = read("SOORMA_EMAIL_PASSWORD", "", "Password at the mail server", str)
EMAIL_SECURITY = read("SOORMA_EMAIL_SECURITY", "", "starttls, tls, or nothing", str).lower()
EMAIL_USE_TLS, EMAIL_USE_SSL = EMAIL_SECURITY == "starttls", EMAIL_SECURITY == "tls"
EMAIL_TIMEOUT = 20
EMAIL_FILE_PATH = DATA_DIR / "mail"  # of the backend that writes files
STALL_GRACE_SECONDS = read(
    "SOORMA_STALL_GRACE_SECONDS", "5", "How long an agent may be without its stream before its tasks are stalled", float
)
TASK_TIMEOUT_SECONDS = read(
    "SOORMA_TASK_TIMEOUT_SECONDS", "0", "How long a task may go without progress; 0: for ever", float
)
START_GRACE_SECONDS = read(
    "SOORMA_START_GRACE_SECONDS", "90", "The same after a start of the server, when all agents come back", float
)
HEARTBEAT_GRACE_SECONDS = read(
    "SOORMA_HEARTBEAT_GRACE_SECONDS",
    "90",
    "How long heartbeats of an agent may stay out before its tasks are stalled",
    float,
)

INSTALLED_APPS = [
    "channels",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "csp",
    "ninja",
    "accounts",
    "tracker",
    "planner",
]
MIDDLEWARE = [
    "soorma_site.problems.problems_only",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "soorma_site.urls"
ASGI_APPLICATION = "soorma_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "accounts.context.workspace",
                "planner.context.approvals",
            ],
        },
    },
]

if DATABASE_URL:
    DATABASES = {"default": dj_database_url.parse(DATABASE_URL)}
    # Persistent connections under ASGI end in "too many clients"; the pool bounds them.
    # Who waits longer for one hears that the database is away, and a database that is back is tried at once.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
    DATABASES["default"]["OPTIONS"].setdefault("prepare_threshold", 2)  # what the ledger writes is prepared once
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 20, "timeout": 3, "reconnect_timeout": 2}
else:
    DATABASES = {
        "default": {
            "ENGINE": "soorma_site.sqlite3",
            "NAME": str(DATA_DIR / "soorma.sqlite3"),
            "OPTIONS": {
                # Writers take the lock at BEGIN: with the default, most concurrent updates fail as "locked".
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA cache_size=-32000; "
                f"PRAGMA synchronous={SQLITE_SYNCHRONOUS}",
            },
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "/sign-in"
LOGIN_REDIRECT_URL = "/plans"
SESSION_COOKIE_AGE = read("SOORMA_SESSION_SECONDS", str(14 * 24 * 3600), "How long a browser stays signed in", int)
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_COOKIES = read("SOORMA_SECURE_COOKIES", "0", "Send cookies over TLS only; set it behind a TLS proxy", flag)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES
if SECURE_COOKIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Redirects are errors to the SDK.
APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
STATICFILES_DIRS = [BASE_DIR / "static"]


def _static_digest() -> str:
    """Changes with every file of ours and with the packages that bring their own."""
    files = [BASE_DIR / "requirements.txt", *sorted(BASE_DIR.glob("static/**/*.*"))]
    named = b"".join(file.name.encode() + file.read_bytes() for file in files)
    return hashlib.sha256(named).hexdigest()[:12]


# The address tells the version, so that browsers may keep what is under it for ever.
STATIC_URL = "/static/" if DEBUG else f"/static/{_static_digest()}/"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": [SELF],
    }
}
LOGGING = logging_settings(LOG_LEVEL, LOG_FORMAT)
