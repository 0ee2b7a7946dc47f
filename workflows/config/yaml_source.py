"""Reading YAML strictly, and remembering where every value stands, so that a mistake can name its line.

Scalars are read by the core schema of YAML 1.2: `1e-2` is a number, and `no`, `on`, `12:30` or `2020-01-01` are text.
YAML 1.1, which PyYAML follows by default, reads all five otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError, raise_all

Path_ = tuple[str | int, ...]
"""Where a value stands in the document: keys and list indices from the root."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|nan)", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # YAML 1.1 would read 010 as eight


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node).replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


@dataclass
class YamlSource:
    """A parsed document and the origin of each of its values.

    Args:
        name: the file, as the user named it.
        data: plain dicts, lists and scalars.
        origins: path of a value → "file:line", or what else it came from (a `--set`).
    """

    name: str
    data: Any
    origins: dict[Path_, str] = field(default_factory=dict)

    def known(self, path: Path_) -> Path_:
        """`path` itself, or the nearest value around it that is there."""
        while path and path not in self.origins:
            path = path[:-1]
        return path

    def origin(self, path: Path_) -> str:
        """Where the value at `path` came from; one that is not there is missing from the value around it."""
        return self.origins.get(self.known(path), self.name)

    def value(self, path: Path_) -> Any:
        """The value at `path`, None where there is none."""
        here = self.data
        for step in path:
            try:
                here = here[step]
            except (KeyError, IndexError, TypeError):
                return None
        return here


def read_text(path: Path, name: str) -> str:
    """A text file as UTF-8.

    Raises:
        InputError: no such file, not a file, not readable, not UTF-8 (with the line).
    """
    if path.is_dir():
        raise InputError("this is a folder", where=name, expected="a YAML file")
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=name) from error
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror}", where=name) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        found = f"byte 0x{raw[error.start]:02x}"
        raise InputError("the file is not UTF-8", where=f"{name}:{line}", found=found) from error


def parse(text: str, name: str) -> YamlSource:
    """A YAML document with the line of every value.

    Raises:
        InputErrors: broken YAML (line and column), more than one document, duplicate keys, keys that are not text.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            reader = _Reader(name, loader)
            data = None if node is None else reader.read(node, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        context = f" {error.context}" if error.context else ""
        raise InputError(f"this is not valid YAML: {error.problem}{context}", where=where) from error
    except yaml.YAMLError as error:
        raise InputError(f"this is not valid YAML: {' '.join(str(error).split())}", where=name) from error
    raise_all(reader.problems)
    return YamlSource(name, data, reader.origins)


class _Reader:
    """Turns nodes into plain data and notes where each came from."""

    def __init__(self, name: str, loader: _Loader) -> None:
        self.name = name
        self.loader = loader
        self.origins: dict[Path_, str] = {}
        self.problems: list[InputError] = []
        self._open: list[yaml.Node] = []

    def read(self, node: yaml.Node, path: Path_) -> Any:
        self.origins.setdefault(path, self._place(node))
        if any(node is other for other in self._open):
            self.problems.append(InputError("this value contains itself", where=self._place(node)))
            return None
        if isinstance(node, yaml.MappingNode):
            self._open.append(node)
            mapping = {key: self.read(value, (*path, key)) for key, value in self._pairs(node, path)}
            self._open.pop()
            return mapping
        if isinstance(node, yaml.SequenceNode):
            self._open.append(node)
            items = [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
            self._open.pop()
            return items
        return self.loader.construct_object(node)

    def _pairs(self, node: yaml.MappingNode, path: Path_) -> Iterator[tuple[str, yaml.Node]]:
        written: dict[str, str] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith((":null", ":merge")):
                continue
            if key.value in written:
                what = f"the key {key.value!r} is here twice"
                self.problems.append(InputError(what, where=self._place(key), hint=f"first on {written[key.value]}"))
            written.setdefault(key.value, f"line {key.start_mark.line + 1}")
        self.loader.flatten_mapping(node)
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":null"):
                self.problems.append(InputError("a key must be text", where=self._place(key)))
                continue
            self.origins[(*path, key.value)] = self._place(key)
            yield key.value, value

    def _place(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"
