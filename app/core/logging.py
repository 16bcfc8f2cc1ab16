"""Structured logs, the same in every process; control characters are escaped by the JSON."""

import logging
import sys

import structlog

from app.core.settings import get_settings


def setup_logging() -> None:
    """Send all logs of this process to standard error as JSON lines."""
    level = logging.getLevelNamesMapping().get(get_settings().log_level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return a logger; bind facts to it with keywords."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
