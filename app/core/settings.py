"""What the operator sets, read from the environment when first asked for."""

from functools import cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every field is an environment variable of its upper-case name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    database_url: str = Field(
        default="postgresql+psycopg://localhost/cyclealign",
        description="Where the truth is; standalone sets it to its embedded PostgreSQL.",
    )
    broker_url: str | None = Field(
        default=None, description="Redis or RabbitMQ; without it nudges go through PostgreSQL."
    )
    artifacts_url: str = Field(
        default="database://", description="Where checkpoint bytes lie: `database://` or `file://`."
    )
    catalogue: Path = Field(
        default=Path(__file__).parent / "catalogue.toml",
        description="The operator's models and judges.",
    )
    data_dir: Path = Field(
        default=Path(".cyclealign"), description="The standalone stack's own folder."
    )
    host: str = "127.0.0.1"
    port: int = Field(default=8100, ge=0, le=65535)

    lease_seconds: float = Field(
        default=60.0, gt=0, description="How long a silent worker is trusted."
    )
    heartbeat_seconds: float = Field(default=10.0, gt=0)
    reap_seconds: float = Field(default=10.0, gt=0)
    sweep_seconds: float = Field(
        default=300.0, gt=0, description="Between searches for bytes that no checkpoint names."
    )
    dispatch_seconds: float = Field(default=1.0, gt=0)
    renudge_seconds: float = Field(default=15.0, gt=0)
    stall_seconds: float = Field(
        default=1200.0, gt=0, description="A runner without progress for so long is stopped."
    )
    stall_seconds_by_phase: dict[str, float] = Field(
        default={},
        description='Other limits for some phases, as JSON, such as `{"loading": 3600}`.',
    )
    drain_seconds: float = Field(
        default=45.0,
        gt=0,
        description="How long a runner may work on at the end of a round when its worker shuts "
        "down; what it has not kept by then is done again.",
    )
    judge_outage_seconds: float = Field(
        default=300.0,
        gt=0,
        description="A judge that has not answered for so long frees the machine: its job waits "
        "as long again and comes back.",
    )
    stop_grace_seconds: float = Field(
        default=8.0, gt=0, description="From asking a runner to stop until it is killed."
    )
    max_stalls: int = Field(default=3, ge=1, description="Lost leases in a row without progress.")
    max_failures: int = Field(default=3, ge=1, description="Own errors in a row without progress.")
    storage_wait_seconds: float = Field(
        default=300.0, gt=0, description="From finding a store full until a job tries again."
    )
    threads: int = Field(default=0, ge=0, description="Threads of torch; 0 lets torch choose.")

    max_json_bytes: int = Field(default=1 << 20, ge=1024)
    max_upload_bytes: int = Field(default=100 << 20, ge=1024)
    max_unpacked_bytes: int = Field(default=1 << 30, ge=1024)
    max_line_bytes: int = Field(default=1 << 20, ge=1024)
    log_level: str = "INFO"

    def stall_limit(self, phase: str | None) -> float:
        """Return for how many seconds a runner may commit nothing in a phase."""
        return self.stall_seconds_by_phase.get(phase or "", self.stall_seconds)


@cache
def get_settings() -> Settings:
    """Return the settings of this process."""
    return Settings()
