"""A config is read strictly: every mistake names its line, what was found, what was expected and the nearest choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError, InputErrors
from workflows.config.load import Config, load_config

GOOD = """\
name: desk
tasks:
  - {name: intent, type: classification, data: {demo: intent}}
  - name: slots
    type: token
    data: {path: data/slots}
    adapt: {steps: 7}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        file = tmp_path / "run.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def problems(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_config(file, overrides)
    error = caught.value
    return [one.message for one in error.problems] if isinstance(error, InputErrors) else [error.message]


def test_defaults_are_filled_in(write):
    config = load_config(write(GOOD))
    assert config.backbone.model == "minilm"
    assert config.pretrain.batch_tokens == 1024
    assert config.pretrain.batch_rows is None
    assert config.adapt_for("intent").lengths == (8, 16, 32)
    assert (config.adapt.first_layers, config.adapt.tolerance, config.adapt.room) == ("auto", 0.002, 64)
    assert (config.adapt.halving.factor, config.adapt.halving.brackets) == (4, 1)
    assert config.pretrain.nested
    assert (config.ensemble.size, config.ensemble.distil) == (5, False)
    assert config.trunk.max_bytes == 8_000_000_000
    assert config.pretrain_tasks == config.adapt_tasks == ("intent", "slots")


def test_sections_can_be_switched_off(write):
    config = load_config(write(GOOD + "pretrain: null\nensemble: null\ntrunk: null\nadapt: {halving: null}\n"))
    assert config.pretrain is None
    assert config.ensemble is None
    assert config.pretrain_tasks == ()
    assert config.trunk is config.trunk_folder is config.adapt_for("slots").halving is None


def test_tasks_become_specs_with_folders_relative_to_the_file(write, tmp_path):
    intent, slots = load_config(write(GOOD + "seed: 5\n")).task_specs()
    assert (intent.data.demo, intent.data.seed, intent.type) == ("intent", 5, "classification")
    assert slots.data.path == str((tmp_path / "data/slots").resolve())


def test_a_backbone_folder_beside_the_file_is_found(write, tmp_path):
    (tmp_path / "bert").mkdir()
    assert load_config(write(GOOD + "backbone: {model: bert}\n")).backbone.model == str(tmp_path / "bert")
    assert load_config(write(GOOD + "backbone: {model: org/bert}\n")).backbone.model == "org/bert"


def test_storage_is_relative_to_the_current_directory(write, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_config(write(GOOD)).run_folder == elsewhere / "runs" / "desk"


def test_trunks_are_kept_with_the_storage_or_where_the_config_says(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(write(GOOD))
    assert config.trunk_folder.is_relative_to(config.cache_folder)
    for written, folder in {
        "/mnt/fast": Path("/mnt/fast"),
        "fast": tmp_path / "fast",
        "~/x": Path.home() / "x",
    }.items():
        assert load_config(write(GOOD), [f"trunk.folder={written}"]).trunk_folder == folder


def test_depths_are_layers_or_auto(write):
    config = load_config(write(GOOD.replace("steps: 7", "first_layers: [3, 0]") + "adapt: {first_layers: auto}\n"))
    assert config.adapt_for("intent").first_layers == "auto"
    assert config.adapt_for("slots").first_layers == (3, 0)
    below = "pretrain: null\nprompt: {first_layer: 2}\nadapt: {first_layers: [0]}\n"
    assert load_config(write(GOOD + below)).adapt.first_layers == (0,)  # without a shared prompt every layer will do


def test_a_tasks_own_adaptation_changes_only_what_it_names(write):
    every = "adapt: {steps: 99, lengths: [4], learning_rates: [1e-3], head_share: 0.5, evaluate_every: 9}\n"
    config = load_config(write(GOOD + every))
    intent, slots = config.adapt_for("intent"), config.adapt_for("slots")
    assert intent.model_dump() == config.adapt.model_dump()
    assert slots == intent.model_copy(update={"steps": 7})


def test_what_is_left_open_follows_from_what_the_task_answers(write):
    text = GOOD.replace("adapt: {steps: 7}", "adapt: {lengths: [4]}")
    others = "  - {name: answers, type: qa, data: {path: data/answers}}\n"
    others += "  - {name: same, type: pair, data: {demo: same_issue}}\n"
    others += "  - {name: tell, type: generation, data: {path: data/tell}}\n"
    text = text.replace("  - name: slots", others + "  - name: slots")
    config = load_config(write(text))
    intent, slots, answers, same = (config.adapt_for(name) for name in ("intent", "slots", "answers", "same"))
    assert (config.adapt.lengths, config.adapt.steps, slots.lengths) == ("auto", "auto", (4,))
    assert slots.steps > intent.steps  # a tag for every word takes more steps than a label for the sentence
    assert slots.head_share < intent.head_share == answers.head_share == 1.0
    assert intent.learning_rates < answers.learning_rates == same.learning_rates < slots.learning_rates
    assert slots.evaluate_every == slots.steps // 10
    assert len(config.adapt_for("tell").learning_rates) > 1  # how fast a prompt may learn depends on what writes
    given = load_config(write(text + "adapt: {steps: 30, learning_rates: [1e-3]}\n")).adapt_for("slots")
    assert (given.steps, given.evaluate_every, given.head_share) == (30, 3, 1.0)  # the share goes with the rates
    elsewhere = load_config(write(text + "prompt: {method: prompt_tuning}\n"))
    rates = {elsewhere.adapt_for(name).learning_rates for name in ("intent", "slots", "answers", "same")}
    assert len(rates) == 1  # what suits deep prompts says nothing about those of one layer
    prefix = load_config(write(text + "prompt: {method: prefix}\n"))
    assert [prefix.adapt_for(name) for name in ("slots", "answers")] == [slots, answers]  # deep, too


def test_so_does_a_section_inside_it(write):
    text = GOOD.replace("steps: 7", "halving: {factor: 2}") + "adapt: {halving: {brackets: 4}}\n"
    config = load_config(write(text))
    assert config.adapt_for("slots").halving.model_dump() == {"factor": 2, "brackets": 4}
    assert config.adapt_for("intent").halving.model_dump() == {"factor": 4, "brackets": 4}
    again = load_config(write(text.replace("{brackets: 4}", "null")))
    assert again.adapt_for("slots").halving.model_dump() == {"factor": 2, "brackets": 1}
    assert again.adapt_for("intent").halving is None


def test_a_dumped_config_is_the_same_config(write):
    config = load_config(write(GOOD))
    again = Config.model_validate(config.model_dump(mode="json"))
    assert again == config
    assert again.adapt_for("slots") == config.adapt_for("slots")


@pytest.mark.parametrize("written", ["1e-2", "0.01", "1.e-2", ".01", "1E-02"])
def test_learning_rates_may_be_written_in_any_usual_way(write, written):
    config = load_config(
        write(GOOD + f"pretrain: {{learning_rate: {written}}}\nadapt: {{learning_rates: [{written}]}}\n")
    )
    assert config.pretrain.learning_rate == 0.01
    assert config.adapt.learning_rates == (0.01,)


def test_yaml_1_1_surprises_are_plain_text(write):
    text = GOOD.replace("intent", "no").replace("name: desk", "name: 2020-01-01")
    config = load_config(write(text))
    assert config.name == "2020-01-01"
    assert config.tasks[0].name == "no"


def test_anchors_work(write):
    text = GOOD + "adapt: &a {steps: 3}\npretrain:\n  <<: *a\n  tasks: [intent]\n"
    assert load_config(write(text)).pretrain.steps == 3


BAD = {
    "unknown key": ("bakbone: {model: minilm}", ["run.yaml:8", "bakbone", "did you mean 'backbone'?"]),
    "unknown key inside": ("adapt: {stepz: 3}", ["run.yaml:8: adapt.stepz", "unknown key", "did you mean 'steps'?"]),
    "text for a number": ("seed: three", ["run.yaml:8: seed", "found the text 'three'", "expected a whole number"]),
    "quoted number": ("seed: '3'", ["found the text '3'", "expected a whole number"]),
    "fraction for a whole number": ("seed: 1.5", ["run.yaml:8: seed", "1.5", "a whole number"]),
    "negative seed": ("seed: -1", ["seed", "-1", "at least 0"]),
    "yes is not true": ("adapt: {from_scratch: yes}", ["adapt.from_scratch", "'yes'", "true or false"]),
    "mapping for a list": ("adapt: {lengths: {a: 1}}", ["adapt.lengths", "expected a list"]),
    "one for a list": ("adapt: {lengths: 8}", ["adapt.lengths", "found 8", "expected a list"]),
    "list for a section": ("adapt: [1]", ["run.yaml:8: adapt", "[1]", "a mapping"]),
    "null for a section": ("adapt: null", ["adapt", "null", "a mapping"]),
    "no such choice": ("launcher: rai", ["launcher", "found rai", "inline or ray", "did you mean 'ray'?"]),
    "no such method": ("prompt: {method: prefx}", ["prompt.method", "found prefx", "did you mean 'prefix'?"]),
    "prompt length 0": ("prompt: {length: 0}", ["prompt.length", "found 0", "at least 1"]),
    "negative length": ("adapt: {lengths: [8, -1]}", ["adapt.lengths.1", "found -1", "at least 0"]),
    "search length twice": ("adapt: {lengths: [8, 8]}", ["adapt.lengths", "8 is here 2 times"]),
    "empty search": ("adapt: {lengths: []}", ["adapt.lengths", "at least one"]),
    "depth twice": ("adapt: {first_layers: [0, 3, 0]}", ["run.yaml:8: adapt.first_layers", "0 is here 2 times"]),
    "negative depth": ("adapt: {first_layers: [0, -1]}", ["adapt.first_layers", "-1", "a whole number from 0"]),
    "no depth": ("adapt: {first_layers: []}", ["adapt.first_layers", "auto, or a list of at least one layer"]),
    "one depth for a list": ("adapt: {first_layers: 3}", ["adapt.first_layers", "found 3", "a list"]),
    "half a depth": ("adapt: {first_layers: [1.5]}", ["adapt.first_layers", "1.5", "a whole number"]),
    "depth by another name": ("adapt: {first_layers: atuo}", ["adapt.first_layers", "did you mean 'auto'?"]),
    "below the shared prompt": (
        "prompt: {first_layer: 2}\nadapt: {first_layers: [2, 1]}",
        ["run.yaml:9: adapt.first_layers.1", "the shared prompt has no such layer", "found 1", "at least 2"],
    ),
    "negative tolerance": ("adapt: {tolerance: -0.1}", ["adapt.tolerance", "-0.1", "at least 0"]),
    "nobody is cut": ("adapt: {halving: {factor: 1}}", ["adapt.halving.factor", "found 1", "at least 2"]),
    "no brackets": ("adapt: {halving: {brackets: 0}}", ["adapt.halving.brackets", "at least 1"]),
    "halving misspelled": ("adapt: {halving: {factr: 3}}", ["adapt.halving.factr", "did you mean 'factor'?"]),
    "halving by a number": ("adapt: {halving: 3}", ["adapt.halving", "found 3", "a mapping"]),
    "no room": ("adapt: {room: 0}", ["adapt.room", "at least 1"]),
    "nested": ("pretrain: {nested: 1}", ["pretrain.nested", "true or false"]),
    "distil": ("ensemble: {distil: one}", ["ensemble.distil", "true or false"]),
    "no trunk": ("trunk: {max_bytes: 0}", ["trunk.max_bytes", "at least 1"]),
    "trunk without a folder": ("trunk: {folder: ''}", ["trunk.folder", "some text"]),
    "learning rate 0": ("pretrain: {learning_rate: 0}", ["pretrain.learning_rate", "more than 0"]),
    "negative learning rate": ("adapt: {learning_rates: [-1e-3]}", ["adapt.learning_rates.0", "more than 0"]),
    "infinite learning rate": ("pretrain: {learning_rate: .inf}", ["pretrain.learning_rate", "finite"]),
    "no steps": ("pretrain: {steps: 0}", ["pretrain.steps", "at least 1"]),
    "warmup over the end": ("pretrain: {warmup: 1.5}", ["pretrain.warmup", "less than 1"]),
    "two batches": ("pretrain: {batch_rows: 8, batch_tokens: 99}", ["batch_rows 8 and batch_tokens 99", "one of"]),
    "pretrain on nobody": ("pretrain: {tasks: [slotz]}", ["pretrain.tasks.0", "slotz", "did you mean 'slots'?"]),
    "adapt to nobody": ("adapt: {tasks: [intnt, slots]}", ["adapt.tasks.0", "did you mean 'intent'?"]),
    "all misspelled": ("adapt: {tasks: alll}", ["adapt.tasks", "found alll", "did you mean 'all'?"]),
    "no names": ("pretrain: {tasks: []}", ["pretrain.tasks", "all, or a list of at least one task name"]),
    "a name twice": ("pretrain: {tasks: [slots, slots]}", ["pretrain.tasks", "2 times"]),
    "left out but adapted": ("adapt: {tasks: [intent]}", ["tasks.slots.adapt", "adapt.tasks leaves it out"]),
    "workers": ("pretrain: {workers: many}", ["pretrain.workers", "found many", "auto or a whole number"]),
    "no members": ("ensemble: {size: 0}", ["ensemble.size", "at least 1"]),
    "layer": ("prompt: {first_layer: -1}", ["prompt.first_layer", "-1", "auto or a whole number, at least 0"]),
    "file store": ("registry: {uri: ./mlruns}", ["registry.uri", "./mlruns", "sqlite:///"]),
    "file store by uri": ("registry: {uri: 'file:///tmp/runs'}", ["registry.uri", "file:///tmp/runs", "sqlite:///"]),
    "no such store": ("registry: {uri: 'htp://host:5000'}", ["registry.uri", "htp://host", "http"]),
    "prefix": ("registry: {prefix: a/b}", ["registry.prefix", "a/b", "letters, digits"]),
    "run name": ("storage: ''", ["storage", "some text"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_value_gives_one_clear_error(write, case):
    line, fragments = BAD[case]
    (message,) = problems(write(GOOD + line + "\n"))
    for fragment in fragments:
        assert fragment in message


BAD_TASKS = {
    "type": (
        "{name: a, type: clasification, data: {demo: intent}}",
        ["tasks.a.type", "did you mean 'classification'?"],
    ),
    "no source": ("{name: a, type: token, data: {}}", ["tasks.a.data", "one of path, hub and demo"]),
    "two sources": ("{name: a, type: token, data: {demo: x, path: y}}", ["tasks.a.data", "path and demo"]),
    "misspelled source": ("{name: a, type: token, data: {pth: y}}", ["tasks.a.data.pth", "did you mean 'path'?"]),
    "no name": ("{type: token, data: {demo: x}}", ["run.yaml:3: tasks.0.name", "'name' is missing"]),
    "no data": ("{name: a, type: token}", ["tasks.a.data", "'data' is missing", "Where the rows are"]),
    "bad name": ("{name: a/b, type: token, data: {demo: x}}", ["tasks.0.name", "a/b", "letters, digits"]),
    "reserved name": ("{name: shared-prompt, type: token, data: {demo: x}}", ["tasks.0.name", "shared prompt"]),
    "metric": (
        "{name: a, type: token, data: {demo: x}, metric: spanf1}",
        ["tasks.a.metric", "did you mean 'span_f1'?"],
    ),
    "columns": ("{name: a, type: token, data: {demo: x}, columns: {tag: t}}", ["tasks.a.columns", "tags"]),
    "revision": ("{name: a, type: token, data: {demo: x, revision: y}}", ["tasks.a.data.revision", "data.hub"]),
    "no rows": ("{name: a, type: token, data: {demo: x, rows: 0}}", ["tasks.a.data.rows", "at least 1"]),
    "number as name": ("{name: 7, type: token, data: {demo: x}}", ["tasks.0.name", "found 7", "expected text"]),
    "not a task": ("seven", ["tasks.0", "seven", "a mapping"]),
}


@pytest.mark.parametrize("case", BAD_TASKS)
def test_a_bad_task_gives_one_clear_error(write, case):
    line, fragments = BAD_TASKS[case]
    (message,) = problems(write(f"name: desk\ntasks:\n  - {line}\n"))
    assert "run.yaml:3" in message
    for fragment in fragments:
        assert fragment in message


def test_two_tasks_of_one_name(write):
    (message,) = problems(write(GOOD.replace("slots\n", "intent\n", 1)))
    assert "run.yaml:4: tasks.1.name" in message
    assert "two tasks have this name" in message


def test_a_tasks_own_depths_are_checked_where_they_stand(write):
    text = GOOD.replace("steps: 7", "first_layers: [1, 1, 4]") + "prompt: {first_layer: 3}\n"
    twice, first, second = problems(write(text))
    assert "run.yaml:7: tasks.slots.adapt.first_layers: 1 is here 2 times" in twice
    assert "tasks.slots.adapt.first_layers.0" in first and "tasks.slots.adapt.first_layers.1" in second
    room = problems(write(GOOD.replace("steps: 7", "room: 9")))  # one batch for all tasks
    assert "tasks.slots.adapt.room: unknown key" in room[0]


def test_no_tasks(write):
    assert "tasks" in problems(write("name: desk\n"))[0]
    assert "at least one" in problems(write("name: desk\ntasks: []\n"))[0]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(write):
    text = "sed: 1\n" + GOOD.replace("slots\n", "intent\n", 1) + "launcher: rai\npretrain: {tasks: [slot]}\n"
    messages = problems(write(text))
    assert [message.split(": ")[1] for message in messages] == ["sed", "tasks.1.name", "launcher", "pretrain.tasks.0"]
