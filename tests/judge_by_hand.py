"""The loopback judge from a shell: `python -m tests.judge_by_hand --port 8123 --latency 0.5`.

A catalogue entry of type `openai` with `base_url = "http://127.0.0.1:8123/v1"` asks it.
"""

import argparse
import sys
import threading
from typing import Any

from tests.judge_server import (
    Act,
    after,
    drops_after_headers,
    endless,
    half_a_body,
    hangs,
    html,
    ranks,
    running_judge,
    says,
    sends,
    status,
)
from worker.blackbox.rubric import points
from worker.cycle.types import Message


def by_rubric(task: dict[str, Any]) -> list[int]:
    dialogue = tuple(Message(turn["role"], turn["content"]) for turn in task["dialogue"])

    def worth(candidate: dict[str, Any]) -> float:
        return sum(points(dialogue, candidate["response"]).values())

    return [each["id"] for each in sorted(task["candidates"], key=worth, reverse=True)]


BY_NAME: dict[str, Act] = {
    "rank": ranks(),
    "rubric": ranks(by_rubric),
    "429": status(429),
    "429-wait": status(429, headers={"retry-after": "5"}),
    "quota": status(429, code="insufficient_quota"),
    "500": status(500),
    "401": status(401),
    "400": status(400),
    "404": status(404),
    "hang": hangs,
    "drop": drops_after_headers,
    "half": half_a_body,
    "html": html(),
    "not-json": sends(b'{"choices": ['),
    "prose": says("I like the first one best."),
    "missing": says('{"ranking": [0]}'),
    "duplicate": says('{"ranking": [0, 0, 1]}'),
    "foreign": says('{"ranking": [0, 99]}'),
    "refusal": says(None, refusal="I would rather not."),
    "length": says('{"ranking": [', finish="length"),
    "filter": says(None, finish="content_filter"),
    "endless": endless,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake judge on loopback.")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--acts", default="", help=f"first do these, of {', '.join(BY_NAME)}")
    parser.add_argument("--otherwise", default="rank", choices=BY_NAME)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    arguments = parser.parse_args()
    script = [after(arguments.latency, BY_NAME[n]) for n in arguments.acts.split(",") if n]
    otherwise = after(arguments.latency, BY_NAME[arguments.otherwise])
    with running_judge(script, otherwise=otherwise, port=arguments.port) as server:
        sys.stdout.write(f"listening on {server.url}\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            sys.stdout.write(f"{len(server.posts)} posts\n")


if __name__ == "__main__":
    main()
