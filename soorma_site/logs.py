"""How the server's log is written: each line with its time, level, logger and fields, as JSON or for the eye."""

import logging
import sys
from typing import Any

import orjson
import structlog

FORMATS = ("console", "json")


def log_format(raw: str) -> str:
    """One of the formats, in any case."""
    if raw.lower() not in FORMATS:
        raise ValueError(f"use {' or '.join(FORMATS)}")
    return raw.lower()


def logging_settings(level: str, format: str) -> dict[str, Any]:
    """Django's LOGGING. Lines of the standard library's loggers and of structlog's go the same way.

    What is bound by `structlog.contextvars` stands in every line of its context.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(format)],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "daphne": {"level": "WARNING"},
            "django.channels.server": {"level": "WARNING"},
            "django.request": {"level": "ERROR"},
        },
    }


def _rendering(format: str) -> list[Any]:
    if format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]
    if sys.stderr.isatty():
        return [structlog.dev.ConsoleRenderer(pad_event_to=0, exception_formatter=_plainly)]
    return [structlog.processors.format_exc_info, _line]


def _json(fields: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(fields, default=str).decode()


def _line(logger: Any, method: str, fields: Any) -> str:
    """As for the eye, without colours, and quick: a busy server writes hundreds of lines a second."""
    head = f"{fields.pop('timestamp')} [{fields.pop('level'):<9}] {fields.pop('event')} [{fields.pop('logger')}]"
    traceback = fields.pop("exception", "")
    named = "".join(f" {name}={value}" for name, value in fields.items())
    return f"{head}{named}\n{traceback}" if traceback else head + named


def _plainly(stream: Any, error: Any) -> None:
    """A traceback as Python writes it: without the values of variables, which may be somebody's data."""
    stream.write("\n" + logging.Formatter().formatException(error))
