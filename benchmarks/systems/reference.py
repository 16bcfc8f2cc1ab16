"""The reference loop: the paper's, one prompt at a time, on the same white box and judge.

A good one: a key-value cache, all candidates of a prompt in one batch, the engine's own precision,
threads and sampler. What it lacks is what the paper's lacks: it waits for the judge, scores in a
pass of its own, and computes a prompt anew for each response; `layout=auto` gives it the engine's
way to multiply by frozen weights, its blocks and its kernels.
"""

from benchmarks.systems.cycle_parts import STAGE, Bench, learning_of, prepare, record
from benchmarks.workload import Measured, Workload
from worker.cycle.ports import Answers, SampleRequest
from worker.cycle.ranking import from_scores, relabel
from worker.cycle.seeds import permutation, sampling_seed
from worker.cycle.training import training_ranking
from worker.cycle.types import At, Candidate, Prompt, Question, Ranked, Sample


def run(workload: Workload, judge_url: str, layout: str = "own") -> Measured:
    """Align every prompt, one after the other."""
    bench = prepare(workload, judge_url, learning_of("off", layout))
    events: list[object] = []
    bench.watch.start()
    for prompt in bench.prompts:
        for iteration in range(workload.iterations):
            event, agreed = _iterate(bench, prompt, At(STAGE, prompt.step, iteration))
            events.append(event)
            if agreed:
                break
    bench.watch.stop()
    return bench.measured("reference", events, len(events))


def _iterate(bench: Bench, prompt: Prompt, at: At) -> tuple[object, bool]:
    """Sample, ask, score, learn, compare: each after the other."""
    samples = _sampled(bench, prompt, at)
    shown = permutation(bench.workload.seed, at, len(samples), "present")
    question = Question(prompt.messages, tuple(samples[k].text for k in shown))
    asked = bench.judge.submit(at, question)
    asked.wait()
    beliefs = _scored(bench, Answers(prompt, tuple(samples)))
    verdict = asked.result()
    assert isinstance(verdict, Ranked)
    black, white = relabel(verdict.ranking, shown), from_scores(dict(enumerate(beliefs)))
    candidates = {k: Candidate(k, one.text, beliefs[k]) for k, one in enumerate(samples)}
    ranking = training_ranking(prompt, dict(enumerate(samples)), candidates, black)
    assert ranking is not None
    [learned] = bench.policy.learn([ranking])
    return record(at, learned, white, black), black == white


def _sampled(bench: Bench, prompt: Prompt, at: At) -> list[Sample]:
    ks = range(bench.workload.candidates)
    seeds = tuple(sampling_seed(bench.workload.seed, at, k) for k in ks)
    [(_, samples)] = bench.policy.sample([SampleRequest(prompt, seeds)])
    return samples


def _scored(bench: Bench, answers: Answers) -> list[float]:
    """A pass of its own, that learning does not reuse."""
    box = bench.policy.box
    [means] = box.learner.scorer.values([box.texts(answers)])
    bench.policy.believe(answers, means)
    return means
