"""Names and values that end in a manifest, checked here: Kubernetes tells of a bad one only when it is applied."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.errors import InputError, nearest

LABEL = 63
NAME = 38
"""Characters of a schedule's name. A RayJob has at most 47; one that a CronJob or RayCronJob makes is
NAME-<minutes since 1970>, nine more."""

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_QUANTITY = re.compile(r"[1-9][0-9]{0,8}(?:[KMGT]i?)?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)*)(?::[0-9]{1,5})?"
_IMAGE = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def safe_name(text: str, limit: int = NAME) -> str:
    """A DNS-1035 label of at most `limit` characters: `text` itself where it is one, else close to it and unlike any
    other text's."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"run-{plain}".rstrip("-")
    if plain == text and len(plain) <= limit:
        return plain
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{plain[: limit - len(mark) - 1].rstrip('-')}-{mark}"


def check_label(text: str, where: str) -> str:
    """A DNS-1123 label, such as a namespace."""
    if len(text) > LABEL or not _LABEL.fullmatch(text):
        close = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LABEL].rstrip("-") or None
        expected = f"at most {LABEL} small letters, digits and inner '-'"
        raise InputError("Kubernetes takes no such name", where=where, found=text, expected=expected, nearest=close)
    return text


def check_subdomain(text: str, where: str) -> str:
    """A DNS-1123 subdomain, such as a Secret's or a volume claim's name."""
    if len(text) > 253 or not _SUBDOMAIN.fullmatch(text):
        close = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:253] or None
        expected = "small letters, digits, inner '-' and '.'"
        raise InputError("Kubernetes takes no such name", where=where, found=text, expected=expected, nearest=close)
    return text


def check_quantity(text: str, where: str) -> str:
    """An amount of memory in Kubernetes' notation."""
    if not _QUANTITY.fullmatch(text):
        number = re.match(r"[1-9][0-9]{0,8}", text)
        close = f"{number.group()}{'Mi' if text.lower().find('m') > 0 else 'Gi'}" if number else None
        raise InputError("this is no amount of memory", where=where, found=text, expected="such as 16Gi", nearest=close)
    return text


def check_choice(text: str, choices: tuple[str, ...], where: str) -> str:
    """One of a few words."""
    if text not in choices:
        close, expected = nearest(text, choices), f"one of {', '.join(choices)}"
        raise InputError("there is no such choice", where=where, found=text, expected=expected, nearest=close)
    return text


def check_url(text: str, where: str) -> str:
    """http(s)://HOST[:PORT][/path] without a user in it: what a file says, everybody reads."""
    wrong = InputError("this is no such address", where=where, found=text, expected="http://HOST:PORT")
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise wrong from error
    if parts.username is not None or parts.password is not None:
        hint = "give them in a Secret or the environment: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD"
        raise InputError("the address holds a password", where=where, found=parts.hostname, hint=hint)
    if not known or not re.fullmatch(r"[A-Za-z0-9:/._~%\[\]-]+", text):
        raise wrong
    return text


def check_zone(text: str, where: str) -> str:
    """A time zone of the tz database."""
    from zoneinfo import available_timezones

    zones = available_timezones()
    if text not in zones:
        folded = {zone.lower(): zone for zone in zones}
        ends = {zone.rpartition("/")[2].lower(): zone for zone in sorted(zones, reverse=True)}
        lower = text.lower().replace(" ", "_")
        close = folded.get(lower) or ends.get(lower) or folded.get(nearest(lower, folded) or "")
        expected = "a name such as Europe/Rome or Etc/UTC"
        raise InputError("there is no such time zone", where=where, found=text, expected=expected, nearest=close)
    return text


@dataclass(frozen=True)
class Image:
    """A container image.

    Attributes:
        reference: as it was given.
        pinned: named by its digest; otherwise the tag is looked up anew whenever the schedule fires.
    """

    reference: str
    pinned: bool

    @property
    def pull_policy(self) -> str:
        """A tag may have moved since a node pulled it; a digest cannot."""
        return "IfNotPresent" if self.pinned else "Always"


def parse_image(text: str, where: str = "--image") -> Image:
    """An image reference, NAME[:TAG][@sha256:DIGEST].

    Raises:
        InputError: it is none.
    """
    match = _IMAGE.fullmatch(text)
    if match is None or len(text) > 400:
        lower = text.strip().lower()
        close = lower if lower != text and _IMAGE.fullmatch(lower) else None
        expected = "NAME:TAG or NAME@sha256:DIGEST"
        raise InputError("this is no image reference", where=where, found=text, expected=expected, nearest=close)
    return Image(text, match["digest"] is not None)
