"""The engine itself: `k` lanes, with its own method, sampler and learner."""

from benchmarks.systems.cycle_parts import learning_of, prepare, record
from benchmarks.workload import Measured, Workload
from worker.cycle.events import Iterated
from worker.methods.cyclealign import CycleConfig, cyclealign
from worker.whitebox.strips import SharedPrompt


def run(
    workload: Workload,
    judge_url: str,
    k: str = "16",
    tree: str = "1",
    update: str = "prompt",
    staleness: str = "0",
    layout: str = "auto",
    exact: str = "0",
) -> Measured:
    """Align every prompt with `k` lanes in flight.

    `tree=0` computes a prompt anew for each response; `layout=own` multiplies by weights as they
    lie, `layout=joined` by those of one input as one, `layout=packed` by weights laid out anew;
    without any the CPU's maker decides, and `layout=torch` does without kernels in C. `exact=1` is
    the profile that equals the reference loop in every bit: no shared prompt, no other layout, and
    the belief from a scoring pass.
    """
    plain = exact == "1"
    shared_prompt: SharedPrompt = "off" if plain or tree == "0" else "auto"
    learning = learning_of(shared_prompt, "own" if plain else layout)
    bench = prepare(workload, judge_url, learning)
    config = CycleConfig(
        seed=workload.seed,
        iterations=workload.iterations,
        candidates=workload.candidates,
        concurrency=int(k),
        update="per_round" if update == "round" else "per_prompt",
        staleness=1 if staleness == "1" else 0,
        belief="scoring" if exact == "1" else "sampling",
    )
    bench.watch.start()
    run = cyclealign(bench.prompts, (), (), bench.policy, bench.judge, config)
    turns = [event for event in run if isinstance(event, Iterated)]
    bench.watch.stop()
    events = [record(turn.at, turn.learned, turn.white, turn.black) for turn in turns]
    return bench.measured("engine", events, len(turns))
