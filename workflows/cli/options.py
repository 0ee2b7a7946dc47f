"""Arguments and options that several commands take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipeline.registry import PromptRegistry

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or a ready config such as demo.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the config: adapt.steps=100. Repeatable.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LauncherOption = Annotated[
    str | None, typer.Option("--launcher", metavar="inline|ray", help="One process, or Ray; instead of the config's.")
]
RegistryOption = Annotated[
    str | None, typer.Option("--registry", metavar="URI", help="MLflow tracking URI; instead of the config's.")
]
PrefixOption = Annotated[
    str | None, typer.Option("--prefix", help="Registered models are PREFIX.TASK; instead of the config's.")
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="CONFIG", help="Take registry and prefix from a config.")
]


def print_json(value: Any) -> None:
    """A result for another program: one JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def open_registry(uri: str | None, prefix: str | None, config: str | None) -> PromptRegistry:
    """The registry that the options mean."""
    from pipeline.registry import PromptRegistry
    from workflows.config.load import load_config
    from workflows.config.settings import RegistrySettings

    settings = load_config(config).registry if config else RegistrySettings()
    return PromptRegistry(uri or settings.uri, prefix or settings.prefix)
