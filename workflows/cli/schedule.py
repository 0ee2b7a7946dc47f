"""`deepprompt schedule`: retraining as files ready to apply. `deepprompt rayjob`: what one of them calls."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.options import ConfigArgument, JsonOption, SetOption, print_json

if TYPE_CHECKING:
    from cluster.schedules import Schedule

SHOWN = 3
"""Next times that are told."""


def schedule(
    config: ConfigArgument,
    target: Annotated[str, typer.Option("--target", metavar="k8s|kuberay|cron|systemd|github", help="What fires it.")],
    cron: Annotated[str, typer.Option("--cron", metavar="EXPRESSION", help="When: '0 3 * * *' is 03:00 every day.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Write files; else to stdout.")] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", metavar="ZONE", help="Europe/Rome. Default: Etc/UTC; the machine's own.")
    ] = None,
    condition: Annotated[
        str, typer.Option("--if", metavar="changed|stale|degraded|always", help="As retrain.")
    ] = "changed",
    overlap: Annotated[str, typer.Option("--overlap", metavar="forbid|queue|replace", help="As retrain.")] = "forbid",
    image: Annotated[str | None, typer.Option("--image", metavar="NAME:TAG", help="What runs (see docker/).")] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="URL", help="Submit to this standing Ray cluster instead.")
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", help="Kubernetes namespace.")] = "default",
    workers: Annotated[int, typer.Option("--workers", help="Worker pods of the Ray cluster.")] = 2,
    gpus: Annotated[int, typer.Option("--gpus", help="GPUs of each worker.")] = 0,
    cpus: Annotated[int, typer.Option("--cpus", help="Processors of each pod.")] = 4,
    memory: Annotated[str, typer.Option("--memory", help="Of each pod.")] = "16Gi",
    deadline: Annotated[float, typer.Option("--deadline", metavar="HOURS", help="The longest one run may take.")] = 12,
    claim: Annotated[str | None, typer.Option("--claim", help="Volume claim that all pods share.")] = None,
    mount: Annotated[str, typer.Option("--mount", help="Where pods see it.")] = "/work",
    secret: Annotated[
        str | None, typer.Option("--secret", help="Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.")
    ] = None,
    token_secret: Annotated[
        str | None, typer.Option("--token-secret", help="Secret with the Ray token as auth_token; KubeRay makes one.")
    ] = None,
    runs_on: Annotated[str, typer.Option("--runs-on", help="GitHub runner.")] = "ubuntu-latest",
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Render a schedule of retraining for cron, systemd, Kubernetes or GitHub Actions."""
    from cluster.schedules import TARGETS, Schedule, parse_cron, render
    from cluster.schedules.names import check_choice, parse_image

    check_choice(target, TARGETS, "--target")
    place, text, name = _config(config, changes or (), target)
    plan = Schedule(
        target=target,
        run_name=name,
        cron=parse_cron(cron),
        zone=timezone or (None if target in ("cron", "systemd") else "Etc/UTC"),
        config_path=place,
        config_text=text,
        folder=str(Path.cwd()),
        program=_program(),
        condition=condition,
        overlap=overlap,
        image=None if image is None else parse_image(image),
        address=address,
        namespace=namespace,
        workers=workers,
        gpus=gpus,
        cpus=cpus,
        memory=memory,
        deadline=timedelta(hours=deadline) if 0 < deadline < 1e6 else timedelta(0),
        claim=claim,
        mount=mount,
        secret=secret,
        token_secret=token_secret,
        runs_on=runs_on,
    )
    files = render(plan)
    times = [time.isoformat() for time in _next_times(plan)]
    if out is not None:
        _write(out, files)
    if as_json:
        print_json({"name": plan.name, "target": target, "cron": plan.cron.text, "next": times, "files": files})
        return 0
    if out is None:
        for number, (file, body) in enumerate(files.items()):
            if len(files) > 1:
                typer.echo(f"{'---' if number and file.endswith('.yaml') else ''}\n# {file}".strip())
            typer.echo(body, nl=False)
    _tell(plan, files, out, times)
    return 0


def rayjob(
    manifest: Annotated[Path | None, typer.Argument(metavar="FILE", help="A RayJob manifest.")] = None,
    name: Annotated[str, typer.Option("--schedule", help="The CronJob's name.")] = "",
    job: Annotated[
        str, typer.Option("--job", envvar="DEEPPROMPT_JOB", help="The Job's name, which names the tick.")
    ] = "",
    pod: Annotated[str, typer.Option("--pod", envvar="DEEPPROMPT_POD", help="This pod, whose image is used.")] = "",
    timezone: Annotated[str, typer.Option("--timezone", help="In which a tick has its date.")] = "Etc/UTC",
    overlap: Annotated[str, typer.Option("--overlap", metavar="forbid|queue|replace")] = "forbid",
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is made.")] = False,
    image_only: Annotated[bool, typer.Option("--image-only", help="Say which image this pod runs, no more.")] = False,
    as_json: JsonOption = False,
) -> int:
    """In a pod: make the RayJob of a schedule's tick, or adopt it, and wait for its end."""
    import yaml

    from cluster.schedules.kube import KubeApi
    from cluster.schedules.names import check_choice, check_label, check_zone
    from cluster.schedules.plan import OVERLAPS
    from cluster.schedules.rayjob import check_template, fire, resolved_image
    from pipeline.errors import InputError

    check_choice(overlap, OVERLAPS, "--overlap")
    check_zone(timezone, "--timezone")
    say = _to_stderr if as_json else typer.echo
    if image_only:
        api = KubeApi.of_this_pod()
        say(f"image {(resolved_image(api, pod) if pod else None) or 'unknown: the node tells no digest'}")
        return 0
    if manifest is None:
        raise InputError("a RayJob manifest is needed", where="FILE")
    for value, option in ((name, "--schedule"), (job, "--job")):
        check_label(value, option)
    try:
        document = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the manifest: {error}", where=str(manifest)) from error
    template = check_template(document, str(manifest))
    api = KubeApi.of_this_pod()
    fired = fire(
        api,
        template,
        schedule=name,
        job=job,
        zone=timezone,
        overlap=overlap,
        image=resolved_image(api, pod) if pod else None,
        wait=not detach,
        say=say,
    )
    if as_json:
        print_json(fired.as_json())
    return fired.exit_code


def _config(config: str, changes: Any, target: str) -> tuple[str, str, str]:
    """(the file's place for the target, its text with the changes in it, the run's name), after checking all of it."""
    import yaml

    from cluster.schedules.plan import check_reachable
    from pipeline.errors import InputError
    from workflows.config.load import find_config, load_config
    from workflows.config.overrides import apply_overrides
    from workflows.config.yaml_source import parse, read_text

    settings = load_config(config, changes)
    file = find_config(config).absolute()
    text = read_text(file, config)
    source = parse(text, config)
    apply_overrides(source, changes)
    check_reachable(source.data, config, target)
    if target in ("k8s", "kuberay"):
        return (
            str(file),
            yaml.safe_dump(source.data, sort_keys=False, allow_unicode=True) if changes else text,
            settings.name,
        )
    if changes:
        hint = "write them into the config: the schedule reads it anew whenever it fires"
        raise InputError("the file on this machine has no such changes", where="--set", found=list(changes), hint=hint)
    if target != "github":
        return str(file), text, settings.name
    try:
        return file.resolve().relative_to(Path.cwd().resolve()).as_posix(), text, settings.name
    except ValueError:
        hint = "call this in the repository's top folder, with a config that is in it"
        raise InputError("the config is not in this folder", where="CONFIG", found=str(file), hint=hint) from None


def _program() -> tuple[str, ...]:
    """The words that start this deepprompt from a bare environment."""
    beside = Path(sys.executable).parent / "deepprompt"
    found = str(beside) if beside.is_file() else shutil.which("deepprompt")
    return (found,) if found else (sys.executable, "-m", "workflows.cli")


def _next_times(plan: Schedule) -> list[datetime]:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(plan.zone) if plan.zone else datetime.now().astimezone().tzinfo
    assert zone is not None
    return plan.cron.next_times(SHOWN, zone)


def _write(folder: Path, files: dict[str, str]) -> None:
    """All files or none: each is complete before the first appears under its name."""
    from pipeline.errors import InputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".schedule-") as made:
            for name, text in files.items():
                (Path(made) / name).write_text(text, encoding="utf-8")
            for name in files:
                os.replace(Path(made) / name, folder / name)
    except OSError as error:
        raise InputError(f"cannot write there: {error.strerror}", where="--out", found=str(folder)) from error


def _tell(plan: Schedule, files: dict[str, str], out: Path | None, times: list[str]) -> None:
    """What was made, when it fires, which image, the next command; not on stdout where the files go there."""
    say = _to_stderr if out is None else typer.echo
    for name in files if out is not None else ():
        say(f"wrote {out / name}" if out else name)
    say(f"fires ({plan.zone or 'this machine’s time'}): {', '.join(times)}")
    if plan.image is not None:
        how = "pinned by its digest" if plan.image.pinned else "a tag: looked up anew whenever it fires"
        say(f"image {plan.image.reference}: {how}")
    if plan.target in ("k8s", "kuberay") and plan.claim is None:
        say("no --claim: checkpoints and caches last only if storage is somewhere that every pod reaches")
    say(f"next: {_next_command(plan, files, str(out) if out is not None else 'FOLDER')}")


def _next_command(plan: Schedule, files: dict[str, str], folder: str) -> str:
    first = next(iter(files))
    if plan.target == "k8s":
        return f"kubectl apply --dry-run=server -f {folder}/{first}, then without the switch"
    if plan.target == "kuberay":
        return (
            f"kubectl apply -f {folder}/ONE: a run (rayjob), a schedule (raycronjob, alpha) or a cluster (raycluster)"
        )
    if plan.target == "cron":
        return f"(crontab -l; cat {folder}/{first}) | crontab -"
    if plan.target == "systemd":
        return f"cp {folder}/{plan.name}.* ~/.config/systemd/user/ && systemctl --user enable --now {plan.name}.timer"
    return f"cp {folder}/{first} .github/workflows/ and commit"


def _to_stderr(line: str) -> None:
    typer.echo(line, err=True)
