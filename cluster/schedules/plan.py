"""What a schedule is made of, checked for the place where it will fire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cluster.schedules.cron import Cron
from cluster.schedules.names import (
    Image,
    check_choice,
    check_label,
    check_quantity,
    check_subdomain,
    check_url,
    check_zone,
    safe_name,
)
from cluster.schedules.quoting import plain_path
from pipeline.errors import InputError, raise_all

TARGETS = ("k8s", "kuberay", "cron", "systemd", "github")
CONDITIONS = ("changed", "stale", "degraded", "always")
OVERLAPS = ("forbid", "queue", "replace")
IN_KUBERNETES = ("k8s", "kuberay")
LARGEST_CONFIG = 900_000  # bytes; a ConfigMap holds 1 MiB, manifests included


@dataclass(frozen=True)
class Schedule:
    """Retraining one config again and again.

    Attributes:
        target: one of TARGETS.
        run_name: the config's name.
        cron: when. zone: the time zone it is meant in; None is the machine's own.
        config_path: the config's file, as the target finds it: absolute; within the repository for github.
        config_text: what is in it, for a cluster that does not have the file.
        folder: where the command runs: `storage` and a relative registry are meant from there.
        program: the words that start deepprompt on this machine.
        condition, overlap: of `deepprompt retrain`.
        image: what runs, in a cluster and on GitHub.
        address: a standing Ray cluster to submit to; None trains where it fires, or on a RayJob's own cluster.
        workers, gpus, cpus, memory: the pods of the Ray cluster and what each has.
        deadline: the longest one run may take.
        claim, mount: a volume claim that all pods share, and where they see it.
        secret: a Secret whose keys become environment variables: the tracking server's name and password.
        token_secret: a Secret with the Ray cluster's token under `auth_token`; KubeRay makes one when there is none.
        runs_on: the label of a GitHub runner.
    """

    target: str
    run_name: str
    cron: Cron
    zone: str | None
    config_path: str
    config_text: str
    folder: str
    program: tuple[str, ...]
    condition: str = "changed"
    overlap: str = "forbid"
    image: Image | None = None
    address: str | None = None
    namespace: str = "default"
    workers: int = 2
    gpus: int = 0
    cpus: int = 4
    memory: str = "16Gi"
    deadline: timedelta = timedelta(hours=12)
    claim: str | None = None
    mount: str = "/work"
    secret: str | None = None
    token_secret: str | None = None
    runs_on: str = "ubuntu-latest"

    def __post_init__(self) -> None:
        problems: list[InputError] = []
        for check in (self._check_words, self._check_place, self._check_cluster):
            try:
                check()
            except InputError as problem:
                problems.append(problem)
        raise_all(problems)

    @property
    def name(self) -> str:
        """The name of what is made: the config's, as Kubernetes takes it."""
        return safe_name(self.run_name)

    @property
    def start_within(self) -> int:
        """Seconds for which a missed start is made up for: until the next one supersedes it.

        Kubernetes gives up on a CronJob that missed more than a hundred starts within this time.
        """
        shortest, longest = self.cron.gaps()
        return int(max(60.0, min(longest, 90 * shortest).total_seconds()))

    def _check_words(self) -> None:
        check_choice(self.target, TARGETS, "--target")
        check_choice(self.condition, CONDITIONS, "--if")
        check_choice(self.overlap, OVERLAPS, "--overlap")
        if self.address is not None:
            check_url(self.address, "--address")
        if self.zone is not None:
            check_zone(self.zone, "--timezone")
        elif self.target not in ("cron", "systemd"):
            raise InputError("a time zone is needed", where="--timezone", expected="Etc/UTC or another zone's name")
        if not timedelta(minutes=1) <= self.deadline <= timedelta(days=30):
            raise InputError("a run's deadline", where="--deadline", found=str(self.deadline), expected="1 min to 30 d")

    def _check_place(self) -> None:
        if self.target in ("cron", "systemd"):
            plain_path(self.folder, "the current folder")
            for word in (self.config_path, *self.program):
                plain_path(word, "CONFIG" if word == self.config_path else "deepprompt")
        if self.target == "cron" and self.zone is not None:
            raise InputError(
                "Debian's cron knows no time zones and would fire at other hours",
                where="--timezone",
                found=self.zone,
                expected="the machine's own time for --target cron",
                nearest="--target systemd",
            )
        if self.target == "github":
            self._check_github()
        if self.target in (*IN_KUBERNETES, "github") and self.image is None:
            expected = "NAME:TAG or NAME@sha256:DIGEST"
            raise InputError("an image is needed", where="--image", expected=expected, hint="see docker/")

    def _check_github(self) -> None:
        if self.cron.gaps()[0] < timedelta(minutes=5):
            expected = "at most every 5 minutes"
            raise InputError(
                "GitHub fires no more often", where="--cron", found=self.cron.text, expected=expected,
                nearest=f"*/5 {self.cron.text.partition(' ')[2]}",
            )  # fmt: skip
        for text, where in ((self.config_path, "CONFIG"), (self.runs_on, "--runs-on")):
            if "${{" in text or not text.isprintable() or not text or text != text.strip():
                raise InputError("GitHub would read an expression or a broken line in this", where=where, found=text)

    def _check_cluster(self) -> None:
        if self.target not in IN_KUBERNETES:
            return
        check_label(self.namespace, "--namespace")
        check_quantity(self.memory, "--memory")
        for name, value in (("claim", self.claim), ("secret", self.secret), ("token-secret", self.token_secret)):
            if value is not None:
                check_subdomain(value, f"--{name}")
        for name, number, least in (("workers", self.workers, 1), ("gpus", self.gpus, 0), ("cpus", self.cpus, 1)):
            if not least <= number <= 10_000:
                raise InputError("this is no such number", where=f"--{name}", found=number, expected=f"{least} or more")
        if not self.mount.startswith("/") or ":" in self.mount or not self.mount.isprintable():
            raise InputError("this is no folder of a pod", where="--mount", found=self.mount, expected="such as /work")
        if len(self.config_text.encode()) > LARGEST_CONFIG:
            found, expected = f"{len(self.config_text.encode())} bytes", f"at most {LARGEST_CONFIG}"
            raise InputError("a ConfigMap does not hold this config", where="CONFIG", found=found, expected=expected)


def check_reachable(config: Mapping[str, Any], where: str, target: str) -> None:
    """Refuses a config that names what only this machine has: relative folders, results that vanish with a pod.

    Args:
        config: the config as it is written, before its folders are made absolute.
        where: its name in messages. target: where it will run.

    Raises:
        InputErrors: all that is out of reach there.
    """
    from cluster.jobs.parcel import check_lasting

    problems: list[InputError] = []
    registry = config.get("registry") or {}
    uri = str(registry.get("uri", "sqlite:///mlflow.db") if isinstance(registry, Mapping) else registry)
    if uri.startswith(("http://", "https://")):
        try:
            check_url(uri, f"{where}: registry.uri")
        except InputError as problem:
            problems.append(problem)
    elif target == "github":
        hint = "--set registry.uri=https://SERVER"
        problems.append(InputError("a runner is thrown away", where=f"{where}: registry.uri", found=uri, hint=hint))
    if target in IN_KUBERNETES:
        try:
            check_lasting(config, (), where)
        except InputError as problem:
            problems.append(problem)
        for task in config.get("tasks") or ():
            data = task.get("data") if isinstance(task, Mapping) else None
            path = data.get("path") if isinstance(data, Mapping) else None
            if isinstance(path, str) and "://" not in path and not path.startswith("/"):
                problems.append(
                    InputError(
                        "this folder is on this machine only",
                        where=f"{where}: tasks.{task.get('name')}.data.path",
                        found=path,
                        expected="an absolute path on the volume (--claim, --mount), or a URI",
                    )
                )
    raise_all(problems)
