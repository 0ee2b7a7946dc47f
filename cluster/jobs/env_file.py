"""`--env-file`: environment variables for a job, from a file of NAME=VALUE lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import InputError, raise_all

OURS = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Ray sets these in a job; others would lead it to another cluster."""
CREDENTIALS = {
    r"https?://": ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    r"s3://": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"),
    r"gs://|gcs://": ("GOOGLE_APPLICATION_CREDENTIALS",),
    r"abfs://|az://": ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_KEY"),
    r"hub": ("HF_TOKEN",),
}
"""Kind of place that a run names → the variables by which its readers are known there."""


def read_env_file(path: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The variables of a file in the common form: comments, `export`, quotes; a bare NAME is taken from `env`.

    Raises:
        InputErrors: no such file, and every line that is none of these.
    """
    try:
        from dotenv.parser import parse_stream
    except ImportError as error:
        raise InputError(
            "python-dotenv is not installed", where="--env-file", hint="pip install python-dotenv"
        ) from error
    problems: list[InputError] = []
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8") as file:
            lines = list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the file cannot be read ({error})", where="--env-file", found=str(path)) from error
    for line in lines:
        where = f"{path}:{line.original.line}"
        if line.error or (line.key is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", line.key)):
            problems.append(InputError("this is not a variable", where=where, expected="NAME=VALUE"))  # never its text
        elif line.key in OURS:
            problems.append(InputError("Ray sets this one in a job", where=where, found=line.key))
        elif line.key is not None and line.value is None and line.key not in env:
            problems.append(InputError("the variable is not set here", where=where, found=line.key))
        elif line.key is not None:
            found[line.key] = env[line.key] if line.value is None else line.value
    raise_all(problems)
    return found


def left_behind(places: list[str], env: Mapping[str, str], sent: Mapping[str, str]) -> list[str]:
    """Credentials that are set here, that a run's places may ask for, and that do not travel with the job."""
    wanted = [name for kind, names in CREDENTIALS.items() for name in names if any(re.match(kind, p) for p in places)]
    return [name for name in dict.fromkeys(wanted) if name in env and name not in sent]
