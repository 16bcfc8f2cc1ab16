"""What can go wrong with the white box.

WhiteBoxError
├── ModelRejected   a model we will not load, or that is not what it claims to be
├── NoRoom          the length limit leaves no token for the prompt or the response
├── NonFiniteLoss   the loss or its gradient is not a number; no step was taken
├── StateMismatch   a training state that belongs to another model or optimizer
├── SamplerMissing  a sampler that this machine cannot run
├── SamplingFailed  a library's sampler that gave up; the message is its own
└── Interrupted     the caller asked to stop in the middle of sampling
"""


class WhiteBoxError(Exception):
    """Base of this room's errors."""


class ModelRejected(WhiteBoxError):
    """A model that is unsafe, incomplete, missing or not readable; the message says which."""


class NoRoom(WhiteBoxError):
    """The length limit leaves no token for the prompt or for the response."""


class NonFiniteLoss(WhiteBoxError):
    """The loss or the norm of its gradient is infinite or not a number; no step was taken."""


class StateMismatch(WhiteBoxError):
    """A training state whose parameters or optimizer are not those of this policy."""


class SamplerMissing(WhiteBoxError):
    """A sampler whose library or hardware this machine lacks; the message says which."""


class SamplingFailed(WhiteBoxError):
    """A library's sampler ended before its time."""


class Interrupted(WhiteBoxError):
    """The caller asked to stop; nothing was sampled."""
