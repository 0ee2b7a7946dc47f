"""Names and paths that would like to be commands: they stay text for whoever reads the file."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schedule_made import documents, make, of_kind

from cluster.schedules import quoting, render
from cluster.schedules.names import check_label, parse_image, safe_name
from cluster.schedules.render import _only_quoted
from pipeline.errors import InputError

HOSTILE = [
    "x; rm -rf /", "$(reboot)", "`reboot`", "a\nb: c", "a\n- b", "x' || true '", 'x" # y', "%n%%s", "${HOME}",
    "$(HOME)", "a\\", "\u2028x", "\x85", "*alias", "&anchor", "!!python/object", "{{ 7 * 7 }}", "{% raw %}",
    "--version", "~",
    "é😀", "a b", "${{ secrets.X }}", "yes", "1e3", "null", "\ttab", " lead", "trail ", "\x00", "\ufeff",
]  # fmt: skip
SIGNS = st.text(alphabet="$(){}'\"`\\%;&|\n #:-!*?~ab", max_size=20)
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30), SIGNS)
LINES = TEXT.map(lambda text: "".join(c for c in text if c.isprintable() and c != "\\").strip())


@given(TEXT)
def test_a_yaml_scalar_is_the_text_and_nothing_else(text):
    whole = f"a: {quoting.yaml_text(text)}\nb: 1\n"
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        return  # half of a pair: no text
    assert yaml.safe_load(whole) == {"a": text, "b": 1}
    assert quoting.yaml_text(text).isascii() and "\n" not in quoting.yaml_text(text)


@given(st.text(alphabet="$(A)x", max_size=12) | TEXT.filter(lambda text: text.isprintable()))
def test_kubernetes_expands_nothing(text):
    assert _as_kubernetes(yaml.safe_load(quoting.kube_text(text))) == text


def _as_kubernetes(text: str) -> str:
    """Its expansion of arguments and environment (k8s.io/kubernetes/third_party/forked/golang/expansion)."""
    read, place = "", 0
    while place < len(text):
        rest = text[place + 1 :]
        if text[place] == "$" and rest.startswith("$"):
            read, place = read + "$", place + 2
        elif text[place] == "$" and rest.startswith("(") and ")" in rest:
            read, place = read + "EXPANDED", place + 2 + rest.index(")")
        else:
            read, place = read + text[place], place + 1
    return read


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT.filter(lambda text: "\0" not in text and text.isprintable()), min_size=1, max_size=4))
def test_a_crontab_command_reaches_the_shell_as_its_words(words):
    line = quoting.crontab_words(words)
    # As cron reads it: an escaped percent sign is one, a bare one would end the command.
    assert not re.search(r"(?<!\\)%", line)
    done = subprocess.run(["sh", "-c", "printf '%s\\0' " + line.replace("\\%", "%")], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


@given(st.lists(LINES.filter(bool), min_size=1, max_size=4))
def test_systemd_reads_back_the_words(words):
    assert _as_systemd(quoting.systemd_words(words)) == words


def _as_systemd(line: str) -> list[str]:
    """systemd.service(5): double quotes, C escapes, %% and $$; anything bare would be expanded and fails here."""
    words = re.findall(r'"((?:[^"\\]|\\.)*)"(?: |$)', line)
    assert " ".join(f'"{word}"' for word in words) == line
    read = []
    for word in words:
        word = re.sub(r"\\(.)", r"\1", word)
        assert not re.search(r"%(?!%)", word.replace("%%", "")) and not word.replace("$$", "").count("$")
        read.append(word.replace("%%", "%").replace("$$", "$"))
    return read


@given(TEXT, st.integers(1, 47))
def test_a_safe_name_is_always_one_and_unlike_others(text, limit):
    limit = max(limit, 12)
    name = safe_name(text, limit)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= limit
    check_label(name, "x")
    assert safe_name(name, limit) == name
    if name != text:
        assert safe_name(text + "x", limit) != name


def test_names_that_look_alike_do_not_meet():
    assert len({safe_name(text) for text in ("Desk", "desk", "de.sk", "de-sk", "de_sk", "desk-")}) == 6
    assert len(safe_name("a" * 200)) == 38 and safe_name("a" * 200) != safe_name("a" * 201)


@settings(max_examples=40, deadline=None)
@example("0\n")  # YAML ends such a document with a line of its own
@example("0\n\n")
@given(TEXT)
def test_a_config_of_any_text_travels_whole(text):
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        return
    config = f"name: desk\nnote: {quoting.yaml_text(text)}\n# {text}\n"
    (whole,) = render(make("k8s", config_text=config)).values()
    kinds = [document["kind"] for document in documents(whole)]
    assert kinds == ["ServiceAccount", "Role", "RoleBinding", "ConfigMap", "CronJob"]
    assert of_kind(whole, "ConfigMap")["data"]["config.yaml"] == config


@settings(max_examples=60, deadline=None)
@given(TEXT)
def test_hostile_values_are_refused_or_stay_values(text):
    """Every option that is free text: either one clear error, or the same five objects with the text in its place."""
    for option in ("namespace", "claim", "secret", "token_secret", "mount", "memory", "address", "zone", "overlap"):
        try:
            schedule = make("k8s", **{option: text})
        except InputError:
            continue
        (whole,) = render(schedule).values()
        kinds = [document["kind"] for document in documents(whole)]
        assert kinds == ["ServiceAccount", "Role", "RoleBinding", "ConfigMap", "CronJob"]
    try:
        image = parse_image(text)
    except InputError:
        return
    assert re.fullmatch(r"[A-Za-z0-9._:/@-]+", image.reference)


@settings(max_examples=60, deadline=None)
@given(LINES.filter(bool))
def test_hostile_paths_in_a_crontab_and_a_unit(text):
    path = f"/srv/{text}"
    schedule = make("cron", config_path=path, folder=path)
    lines = [line for line in render(schedule)["desk.crontab"].splitlines() if not line.startswith("#")]
    assert len(lines) == 2  # SHELL, and one command
    assert lines[1].startswith("0 3 * * * cd ")
    units = render(make("systemd", config_path=path, folder=path))
    sections = re.findall(r"^\[(\w+)\]$", units["desk.service"], re.MULTILINE)
    assert sections == ["Unit", "Service"]
    (command,) = re.findall(r"^ExecStart=/usr/bin/env (.*)$", units["desk.service"], re.MULTILINE)
    assert _as_systemd(command)[2] == path


@pytest.mark.parametrize("path", ["/srv/a\nb", "/srv/a\\b", "/srv/a ", "/srv/\x1b[31m", "/srv/\u2028"])
@pytest.mark.parametrize("target", ["cron", "systemd"])
def test_a_path_that_no_line_can_hold_is_refused(path, target):
    for changes in ({"config_path": path}, {"folder": path}):
        with pytest.raises(InputError, match="cannot hold this path"):
            make(target, **changes)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("folder", ["/tmp", "/tmp/50% off $HOME 'it' \"is\""])
def test_systemd_itself_accepts_the_units(folder, tmp_path):
    units = render(make("systemd", folder=folder, config_path=f"{folder}/c.yaml", cron="0 3 1 * 1", zone="Europe/Rome"))
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in units)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "desk." not in done.stderr, done.stderr  # a setting it does not know is only a warning
    assert units["desk.timer"].count("OnCalendar=") == 2 and "Persistent=true" in units["desk.timer"]


def test_a_template_cannot_print_what_no_filter_has_quoted():
    with pytest.raises(TypeError, match="without a filter"):
        _only_quoted("text")
    assert _only_quoted(quoting.yaml_text("text")) == '"text"'


@pytest.mark.parametrize("text", ["${{ secrets.X }}.yaml", "a\nb", " a", ""])
def test_github_reads_no_expression_in_a_path(text):
    with pytest.raises(InputError, match="GitHub"):
        make("github", config_path=text)
