"""What every judge must keep to, whoever answers."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.blackbox.questions import QUESTION, WITH_TEACHER
from tests.judge_server import TEACHER, running_judge
from tests.tiny import tiny_model_folder
from worker.blackbox.failures import NotRecorded
from worker.blackbox.local_lm import LocalLmBox
from worker.blackbox.openai import OpenAiBox, OpenAiEndpoint
from worker.blackbox.recorded import RecordedBox
from worker.blackbox.reward_model import RewardBox
from worker.blackbox.rubric import RubricBox
from worker.blackbox.scripted import ScriptedBox
from worker.blackbox.types import BlackBox, Request, question_digest
from worker.cycle.ranking import is_ranking_of
from worker.cycle.types import Fault, Malformed, Message, Question, Ranked, Reply
from worker.whitebox.load import FolderModel, load_model
from worker.whitebox.opening import open_speaker
from worker.whitebox.reward import reward_model_of
from worker.whitebox.rewarder import open_rewarder
from worker.whitebox.sample import Generation

SECRET = "sk-do-not-tell-1234567890"
OPEN: dict[str, Callable[[ExitStack, Path], BlackBox]] = {}


def opens(name: str) -> Callable[[Callable[[ExitStack, Path], BlackBox]], None]:
    def remember(opener: Callable[[ExitStack, Path], BlackBox]) -> None:
        OPEN[name] = opener

    return remember


@opens("openai")
def _openai(stack: ExitStack, folder: Path) -> BlackBox:
    server = stack.enter_context(running_judge())
    box = OpenAiBox(OpenAiEndpoint(server.url, "fake-judge", api_key=SECRET))
    stack.callback(box.close)
    return box


@opens("local_lm")
def _local_lm(stack: ExitStack, folder: Path) -> BlackBox:
    source = FolderModel(tiny_model_folder(folder / "tiny", chat_template=True))
    generation = Generation(max_new_tokens=16, max_length=8192)
    return LocalLmBox(open_speaker(source, generation), "tiny")


@opens("reward_model")
def _reward_model(stack: ExitStack, folder: Path) -> BlackBox:
    source = FolderModel(tiny_model_folder(folder / "tiny", chat_template=True))
    model, tokenizer = load_model(source)
    for part in (reward_model_of(model, seed=1), tokenizer):
        part.save_pretrained(folder / "reward")
    rewarder = open_rewarder(FolderModel(folder / "reward"), Generation(max_length=8192))
    return RewardBox(rewarder, "tiny-reward")


@opens("rubric")
def _rubric(stack: ExitStack, folder: Path) -> BlackBox:
    return RubricBox()


@opens("recorded")
def _recorded(stack: ExitStack, folder: Path) -> BlackBox:
    text = '{"ranking": [1, 0, 2], "response": "' + TEACHER + '"}'
    questions = (QUESTION, WITH_TEACHER)
    return RecordedBox({question_digest(each): Reply(text, "stop") for each in questions})


@opens("scripted")
def _scripted(stack: ExitStack, folder: Path) -> BlackBox:
    return ScriptedBox(lambda _: '{"ranking": [[1, 0], 2], "response": "' + TEACHER + '"}')


@pytest.fixture(params=sorted(OPEN))
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlackBox]:
    with ExitStack() as stack:
        yield OPEN[request.param](stack, tmp_path)


def test_a_ranking_read_back_holds_exactly_the_presented_responses(box: BlackBox) -> None:
    answer = box.read(box.ask(box.request(QUESTION)), QUESTION)
    match answer:
        case Ranked():
            assert is_ranking_of(answer.ranking, range(3))
        case Malformed():
            assert isinstance(box, LocalLmBox)  # two random layers rank nothing


def test_a_stored_reply_reads_like_a_fresh_one(box: BlackBox) -> None:
    reply = box.ask(box.request(QUESTION))
    stored = Reply(**json.loads(json.dumps(vars(reply))))
    assert box.read(stored, QUESTION) == box.read(reply, QUESTION)


def test_the_same_question_makes_the_same_request(box: BlackBox) -> None:
    first, second = box.request(QUESTION), box.request(QUESTION)
    assert first == second
    assert first.key() == second.key()


def test_a_request_survives_storage_as_json(box: BlackBox) -> None:
    request = box.request(QUESTION)
    stored = json.loads(json.dumps(request.as_json()))
    assert stored == request.as_json()
    again = Request(stored["judge"], stored["template"], request.messages, stored["parameters"])
    assert again.key() == request.key()


@pytest.mark.parametrize(
    "other",
    [
        replace(QUESTION, responses=("The Rhine!", *QUESTION.responses[1:])),
        replace(QUESTION, responses=QUESTION.responses[::-1]),
        replace(QUESTION, messages=(*QUESTION.messages, *QUESTION.messages)),
    ],
    ids=["a response", "the order", "the dialogue"],
)
def test_another_question_has_another_key(box: BlackBox, other: Question) -> None:
    assert box.request(other).key() != box.request(QUESTION).key()


def test_demonstrations_matter_to_judges_that_read_them_and_to_no_other(box: BlackBox) -> None:
    without = replace(QUESTION, demonstrations=())
    differs = box.request(without).key() != box.request(QUESTION).key()
    assert differs == box.traits.reads_demonstrations


def test_a_judge_that_writes_responses_gives_one_when_asked(box: BlackBox) -> None:
    answer = box.read(box.ask(box.request(WITH_TEACHER)), WITH_TEACHER)
    if isinstance(answer, Ranked):
        assert answer.teacher == (TEACHER if box.traits.writes_response else None)


def test_no_secret_is_in_a_request(box: BlackBox) -> None:
    assert SECRET not in repr(box.request(QUESTION))
    assert SECRET not in json.dumps(box.request(QUESTION).as_json())


def test_a_judge_that_scores_gives_one_score_in_range_per_response(box: BlackBox) -> None:
    if not box.traits.gives_scores:
        return
    answer = box.read(box.ask(box.request(QUESTION)), QUESTION)
    assert isinstance(answer, Ranked)
    assert answer.scores is not None
    assert len(answer.scores) == 3
    assert all(0 <= score <= 1 for score in answer.scores)


def test_a_reply_of_rubbish_is_a_value(box: BlackBox) -> None:
    answer = box.read(Reply('{"ranking": "x"}', "stop"), QUESTION)
    assert isinstance(answer, Malformed)
    assert answer.raw == '{"ranking": "x"}'


def test_a_fault_is_named_in_the_next_request_of_judges_that_read(box: BlackBox) -> None:
    fault = Malformed(Fault.MISSING, "not ranked: 2", '{"ranking": [0, 1]}')
    again = box.request(QUESTION, (fault.raw, fault))
    if isinstance(box, RubricBox | RewardBox | RecordedBox):
        assert again == box.request(QUESTION)
    else:
        assert "not ranked: 2" in again.messages[-1].content


def test_text_that_a_database_cannot_hold_stays_out_of_requests_and_replies(box: BlackBox) -> None:
    odd = replace(
        QUESTION,
        messages=(Message("user", "a\x00b \ud800?"),),
        responses=("a\x00b", "c \ud800 d.", "e"),
    )
    texts = "".join(strings_in(box.request(odd).as_json()))
    with suppress(NotRecorded):
        texts += box.ask(box.request(odd)).text
    assert "\x00" not in texts
    texts.encode()


def strings_in(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            yield from strings_in(list(value.values()))
        case list():
            for each in value:
                yield from strings_in(each)
