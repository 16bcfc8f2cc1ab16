"""The calibration on a tiny model: every number is there, and the limit is made of them."""

import json
from pathlib import Path

import pytest

from benchmarks.limit import main


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_limit_is_calibrated_printed_and_written(
    tuning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "limit.json"
    main(["--model", "tiny", "--tuning", tuning, "--seconds", "0.05", "--out", str(out)])
    found = json.loads(out.read_text())
    limit = found["limit"]
    parts = [limit[name] for name in ("prefill", "decoding", "training", "optimizer")]
    assert min(parts) > 0
    assert limit["total"] == pytest.approx(sum(parts))
    assert limit["decoding"] == pytest.approx(
        4 * 48 / max(found["decode_tokens_per_second"].values())
    )
    assert limit["optimizer"] == found["optimizer_seconds"]
    assert found["operations"]["frozen"] == (tuning == "lora")
    printed = capsys.readouterr().out
    for words in ("GFLOP/s", "decoding, batch 64", "prefill", "training", "AdamW step", "total"):
        assert words in printed
