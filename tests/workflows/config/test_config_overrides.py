"""`--set` changes a config and is checked like the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from workflows.config.load import load_config

TEXT = """\
name: desk
tasks:
  - {name: intent, type: classification, data: {demo: intent}}
  - {name: slots, type: token, data: {demo: slots}}
pretrain: null
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(TEXT)
    return path


def test_values_are_yaml(file):
    config = load_config(file, ["seed=3", "adapt.lengths=[2, 4]", "adapt.learning_rates=[3e-3]", "ensemble=null"])
    assert config.seed == 3
    assert config.adapt.lengths == (2, 4)
    assert config.adapt.learning_rates == (3e-3,)
    assert config.ensemble is None


def test_a_task_goes_by_index_or_name(file):
    config = load_config(file, ["tasks.0.data.rows=32", "tasks.slots.adapt.steps=5"])
    assert config.tasks[0].data.rows == 32
    assert config.adapt_for("slots").steps == 5


def test_a_section_that_was_off_is_on_again(file):
    assert load_config(file).pretrain is None
    assert load_config(file, ["pretrain.mixing.exponent=1"]).pretrain.mixing.exponent == 1.0


def test_sections_inside_sections_are_made_where_there_are_none(file):
    config = load_config(file, ["adapt.halving.brackets=2", "tasks.slots.adapt.halving=null", "trunk.max_bytes=1000"])
    assert (config.adapt.halving.brackets, config.trunk.max_bytes) == (2, 1000)
    assert config.adapt_for("slots").halving is None


def test_depths_are_a_list_or_a_word(file):
    config = load_config(
        file, ["adapt.first_layers=[0, 3]", "tasks.slots.adapt.first_layers=auto", "adapt.tolerance=0"]
    )
    assert (config.adapt_for("intent").first_layers, config.adapt_for("slots").first_layers) == ((0, 3), "auto")
    assert config.adapt.tolerance == 0.0


def test_later_ones_win(file):
    assert load_config(file, ["seed=3", "seed=4"]).seed == 4


def test_a_value_may_hold_equals_signs(file):
    assert load_config(file, ["registry.uri=sqlite:///a.db?x=y"]).registry.uri == "sqlite:///a.db?x=y"


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("adpt.steps=3", ["--set adpt.steps=3: adpt", "unknown key", "did you mean 'adapt'?"]),
        ("adapt.stepz=3", ["adapt.stepz", "did you mean 'steps'?"]),
        ("seed=x", ["--set seed=x: seed", "a whole number"]),
        ("seed", ["not a setting", "key.path=value"]),
        ("=3", ["not a setting"]),
        ("adapt..steps=3", ["not a setting"]),
        ("name.first=3", ["name is a single value", "'first'"]),
        ("tasks.intnt.type=token", ["tasks has no part 'intnt'", "did you mean 'intent'?"]),
        ("tasks.7.type=token", ["tasks has no part '7'", "0 to 1"]),
        ("adapt.lengths=[1", ["not valid YAML"]),
        ("adapt.first_layers=3", ["--set adapt.first_layers=3: adapt.first_layers", "auto, or a list"]),
        ("tasks.intent.data.path=x", ["tasks.intent.data", "path and demo"]),
    ],
)
def test_a_bad_one_is_told(file, override, fragments):
    with pytest.raises(InputError) as caught:
        load_config(file, [override])
    for fragment in fragments:
        assert fragment in caught.value.message


def test_a_mistake_that_an_override_mends_is_none(file):
    file.write_text(TEXT + "seed: x\n")
    assert load_config(file, ["seed=1"]).seed == 1
