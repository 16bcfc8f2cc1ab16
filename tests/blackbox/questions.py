from dataclasses import replace

from worker.cycle.demonstration import BUILT_IN
from worker.cycle.types import At, Message, Question

AT = At("train", 0, 0)
QUESTION = Question(
    messages=(Message("user", "Which river flows through Cologne?"),),
    responses=(
        "The Rhine.",
        "Cologne lies on the Rhine, the river that flows through it from south to north.",
        "I do not know any river there",
    ),
    demonstrations=(BUILT_IN,),
)
WITH_TEACHER = replace(QUESTION, wants_response=True)
