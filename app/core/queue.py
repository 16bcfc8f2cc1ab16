"""The queue of nudges: messages without content that make a worker look for a runnable job.

Losing, repeating or forging a nudge changes only when a job starts. They are acknowledged early
and nothing is stored about them: the job's row knows all.
"""

from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError as KombuOperationalError
from sqlalchemy import Engine, text

from app.core import broker
from app.core.errors import Unavailable
from app.core.settings import Settings

QUEUE = "cyclealign.nudges"
NUDGE = "cyclealign.nudge"
EXPIRES_SECONDS = 600
"""Long beside any skew of the hosts' clocks, which is what a worker compares it with."""

_PREPARE = text("SELECT pg_advisory_xact_lock(hashtext('cyclealign.broker'))")
_GIVE_UP_SOON = {"max_retries": 1, "interval_start": 0, "interval_max": 0}


def broker_url(settings: Settings) -> str:
    """Return BROKER_URL, or the database as the broker."""
    return settings.broker_url or f"{broker.SCHEME}+{settings.database_url}"


def celery_app(settings: Settings) -> Celery:
    """Make the Celery application of the nudges; it registers no task and connects to nothing."""
    broker.register()
    app = Celery("cyclealign", broker=broker_url(settings), set_as_current=False)
    app.conf.update(
        task_acks_late=False,  # a late one is redelivered in the middle of a long job
        task_reject_on_worker_lost=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,  # the dispatcher's loop is the retry
        task_default_queue=QUEUE,
        task_time_limit=None,
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=_is_redis(settings),
        worker_max_tasks_per_child=50,
        worker_enable_remote_control=False,  # no message may command a worker
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport_options(settings),
    )
    return app


def transport_options(settings: Settings) -> dict[str, Any]:
    """Return the options of the broker in use; each transport refuses the others' options."""
    if settings.broker_url is None:
        return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}
    if _is_redis(settings):
        return {
            "visibility_timeout": 3600,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 30,
        }
    return {"confirm_publish": True}


def send_nudge(app: Celery) -> None:
    """Send one nudge over a connection of its own; raises `Unavailable` without a broker."""
    with app.connection_for_write(transport_options=_GIVE_UP_SOON) as connection:
        faults = (
            *connection.connection_errors,
            *connection.channel_errors,
            KombuOperationalError,
            OSError,
        )
        try:
            app.send_task(
                NUDGE, queue=QUEUE, expires=EXPIRES_SECONDS, retry=False, connection=connection
            )
        except faults as error:
            raise Unavailable("The broker does not answer.") from error


def prepare_broker(app: Celery, engine: Engine) -> None:
    """Make the queue in PostgreSQL; one process at a time, since tables made at once collide."""
    if not app.conf.broker_url.startswith(broker.SCHEME):
        return
    with engine.begin() as lock, app.connection_for_write() as connection:
        lock.execute(_PREPARE)
        app.amqp.queues[QUEUE](connection.default_channel).declare()


def purge_delivered(engine: Engine) -> int:
    """Delete what the broker in PostgreSQL has delivered; return how many messages."""
    return broker.purge_delivered(engine)


def _is_redis(settings: Settings) -> bool:
    return (settings.broker_url or "").startswith(("redis", "sentinel"))
