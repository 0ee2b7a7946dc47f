"""How text of the user's enters a file that something else will read: quoted for that reader, so that it stays text.

Every filter returns `Quoted`; the templates can print nothing else (see `render`), so a forgotten filter is an error
and not a hole.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from pipeline.errors import InputError


class Quoted(str):
    """Text that is safe where it stands."""


def yaml_text(value: object) -> Quoted:
    """A double-quoted YAML scalar of printable ASCII, on one line."""
    return Quoted('"' + "".join(map(_yaml_character, str(value))) + '"')


def _yaml_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def kube_text(value: object) -> Quoted:
    """`yaml_text` for a container's arguments and environment, where Kubernetes would expand $(NAME)."""
    return yaml_text(str(value).replace("$", "$$"))


def yaml_file(text: str, name: str, spaces: int) -> Quoted:
    """`name: text` of a ConfigMap, indented: as a readable block where YAML has one for this text, else quoted."""
    if not all(character == "\n" or character.isprintable() for character in text):
        return Quoted(" " * spaces + f"{yaml_text(name)}: {yaml_text(text)}")  # a reader would make line breaks of some
    document = yaml.dump({name: text}, Dumper=_Blocks, width=float("inf"), allow_unicode=True)
    if document.endswith("...\n") or yaml.safe_load(document.rstrip("\n")) != {name: text}:
        return Quoted(" " * spaces + f"{yaml_text(name)}: {yaml_text(text)}")  # it ends as only a last block may
    return Quoted("\n".join(" " * spaces + line if line else line for line in document.rstrip("\n").split("\n")))


class _Blocks(yaml.SafeDumper):
    """Strings of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _block)


def shell_words(words: Sequence[str]) -> Quoted:
    """A command for a POSIX shell."""
    return Quoted(shlex.join(words))


def crontab_words(words: Sequence[str]) -> Quoted:
    """A command for a crontab, where a bare percent sign is a line break."""
    return Quoted(shlex.join(words).replace("%", "\\%"))


def systemd_words(words: Sequence[str]) -> Quoted:
    """A command line of a systemd unit. The first word must be plain: systemd expands no `$$` there."""
    return Quoted(" ".join(f'"{_systemd_escaped(word)}"' for word in words))


def systemd_path(path: str) -> Quoted:
    """A path as a setting of its own: not unquoted by systemd, only specifiers are expanded."""
    return Quoted(path.replace("%", "%%"))


def _systemd_escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")


def plain_path(path: Path | str, where: str) -> str:
    """A path that every reader of a line can be given.

    Raises:
        InputError: it holds line breaks, other control characters or a backslash, or ends in a space; crontab and
            systemd differ between their versions in what these become.
    """
    text = str(path)
    if text != text.strip() or "\\" in text or not text.isprintable():
        raise InputError(
            "crontab and systemd cannot hold this path",
            where=where,
            found=repr(text),
            expected="a path without line breaks, control characters, backslashes or spaces at its end",
            hint="move it, or name it by a symbolic link",
        )
    return text
