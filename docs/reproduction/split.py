"""Split the HH-RLHF slice into the files of `plan.json`: no prompt stands in two of them.

`python docs/reproduction/split.py SHARED_DATA FOLDER`, where SHARED_DATA holds `hh-rlhf` and
`almost`.
"""

import gzip
import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHORT_CHARACTERS = 300
"""Of a prompt that is trained on or answered: two CPU cores have to do."""
TRAINED = 48
HELD_OUT = 64
SEED = 20231016
REPLY = "\n\nAssistant:"

Row = dict[str, Any]


def main(data: Path, folder: Path) -> None:
    """Write the five files."""
    rows = _distinct(_read(data / "hh-rlhf/harmless-base/test-first1000.jsonl.gz"))
    short = [row for row in rows if len(_prompt(row)) <= SHORT_CHARACTERS]
    random.Random(SEED).shuffle(short)  # noqa: S311 - a split needs no secrecy
    trained, held_out = short[:TRAINED], short[TRAINED : TRAINED + HELD_OUT]
    apart = {_prompt(row) for row in (*trained, *held_out)}
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "train.jsonl", trained)
    _write(folder / "held-out.jsonl", held_out)
    _write(folder / "evaluator.jsonl", [row for row in rows if _prompt(row) not in apart])
    _write(folder / "hhh.jsonl", _static_hhh(data / "almost/hhh_eval-half.json"))


def _read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _distinct(rows: Iterable[Row]) -> list[Row]:
    """The first row of every prompt whose two replies answer the same thing."""
    by_prompt = {
        _prompt(row): row
        for row in reversed(list(rows))
        if _prompt(row) == row["rejected"].rpartition(REPLY)[0] and row["chosen"] != row["rejected"]
    }
    return list(reversed(by_prompt.values()))


def _prompt(row: Row) -> str:
    return str(row["chosen"]).rpartition(REPLY)[0]


def _static_hhh(path: Path) -> list[Row]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        {"chosen": row["chosen"], "rejected": row["rejected"], "subset": row["type"]}
        for row in rows
    ]


def _write(path: Path, rows: Iterable[Row]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
