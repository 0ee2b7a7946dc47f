"""What a replica is started with; plain data, sent to it by Ray."""

from __future__ import annotations

from dataclasses import dataclass, field

from workflows.serve.limits import Limits


@dataclass(frozen=True)
class Settings:
    """What a replica is started with.

    Args:
        uri, prefix: of the registry. model: where the backbone is now, when its folder has moved.
        poll: seconds between two looks at the registry.
        token_sha256: of the bearer token, which itself travels nowhere.
        threads: of torch; 0 leaves them as they are. limits: see there.
        private: the cluster is this machine's alone, and nobody else is to reach a replica.
    """

    uri: str
    prefix: str = "deepprompt"
    model: str | None = None
    poll: float = 2.0
    token_sha256: str | None = None
    threads: int = 0
    private: bool = False
    limits: Limits = field(default_factory=Limits)
