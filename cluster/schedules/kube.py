"""The little of Kubernetes' API that a tick needs, spoken from inside a pod: no client library travels in the image."""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATIENCE = 300.0
"""Seconds for which a server that does not answer is asked again: as long as a control plane takes to be upgraded."""


class Gone(Exception):
    """There is no such object."""


class Taken(Exception):
    """There is an object of that name already."""


class KubeApi:
    """Kubernetes as a pod sees it.

    Args:
        url: https://HOST:PORT. namespace: the pod's own.
        token_file: the service account's token; read at every request, because Kubernetes renews it.
        ca_file: what the server's certificate is checked against; None for the system's.
        sleep: waits between tries.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url, self.namespace, self._token_file, self._sleep = url, namespace, token_file, sleep
        self._tls = ssl.create_default_context(cafile=ca_file) if url.startswith("https:") else None

    @classmethod
    def of_this_pod(cls, env: Mapping[str, str] = os.environ, account: Path = ACCOUNT) -> KubeApi:
        """The cluster that this pod runs in.

        Raises:
            InputError: this is no pod, or one without a service account.
        """
        host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT", "443")
        try:
            namespace = (account / "namespace").read_text(encoding="utf-8").strip()
        except OSError:
            namespace = ""
        if not host or not namespace:
            hint = "`deepprompt schedule --target k8s` renders the CronJob that calls it; elsewhere use kubectl"
            raise InputError("this command works in a pod with a service account", where="rayjob", hint=hint)
        address = f"[{host}]" if ":" in host else host
        return cls(f"https://{address}:{port}", namespace, account / "token", account / "ca.crt")

    def get(self, path: str) -> dict[str, Any]:
        """An object or a list. Raises Gone."""
        return self._ask("GET", path)

    def create(self, path: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """A new object. Raises Taken; InputError when the manifest is refused."""
        return self._ask("POST", path, manifest)

    def delete(self, path: str) -> None:
        """Removes an object and what it owns; one that is not there is fine."""
        try:
            self._ask("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
        except Gone:
            return

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        waited, pause = 0.0, 1.0
        while True:
            try:
                return self._once(method, path, body)
            except OSError:  # no answer, or one that says: later
                if waited >= PATIENCE:
                    raise
            self._sleep(pause)
            waited, pause = waited + pause, min(2 * pause, 30.0)

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._tls) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as error:
            told = _message(error)
            if error.code == 404:
                raise Gone(told) from None
            if error.code == 409 and method == "POST":
                raise Taken(told) from None
            if error.code in (401, 403):
                hint = "apply the Role and RoleBinding of the rendered file"
                raise InputError(f"Kubernetes forbids it: {told}", where=f"{method} {path}", hint=hint) from None
            if error.code in (400, 415, 422):
                raise InputError(f"Kubernetes refuses it: {told}", where=f"{method} {path}") from None
            raise OSError(f"{method} {path}: HTTP {error.code}: {told}") from None


def _message(error: urllib.error.HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:300] or str(error.reason)
