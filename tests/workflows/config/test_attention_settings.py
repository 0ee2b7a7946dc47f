"""`prompt.attention`: what it switches, and what nothing would read is refused."""

from __future__ import annotations

import pytest
from small import small_config

from pipeline.errors import InputError
from tests.families import family_backbone, language_model
from tests.tiny import tiny_backbone
from tests.workflows.runs.test_verbal_runs import HARD, INTENT, PAIR, PROMPT, WORDS
from tests.workflows.runs.test_verbal_runs import config_of as verbal_config
from workflows.config.load import load_config
from workflows.plan.make import make_plan


def config_of(folder, family, prompt):
    own = {str(tiny_backbone("bert")): str(family_backbone(family)), "init: normal": f"init: normal{prompt}"}
    return load_config(small_config(folder, **own))


def test_where_heads_read_prompts_stand_in_the_encoder(tmp_path):
    plan = make_plan(config_of(tmp_path, "t5", ""))
    assert plan.kind == "t5, an encoder-decoder of 3 + 2 layers" and "attention of kind encoder" in plan.method
    assert plan.tasks[0].first_layers == (0, 1, 2)
    assert plan.trainable == make_plan(config_of(tmp_path, "bert", "")).trainable, "as an encoder of that size"


@pytest.mark.parametrize(
    ("family", "attention", "said"),
    [
        ("t5", "[encoder, cross]", "no task writes: prompts in the decoder would have no effect"),
        ("t5", "[decoder]", "no task writes"),
        ("bert", "[encoder]", "nothing to choose: the backbone has one kind of attention"),
    ],
)
def test_prompts_that_nothing_would_read_are_refused(family, attention, said, tmp_path):
    config = config_of(tmp_path, family, f", attention: {attention}")
    with pytest.raises(InputError, match=rf"prompt\.attention: .*{said}"):
        make_plan(config)


@pytest.mark.parametrize("attention", ["[cross]", "[decoder, cross]", "[encoder]"])
def test_label_words_are_answered_in_the_decoder_where_prompts_may_stand(attention, tmp_path):
    changes = {
        **HARD,
        INTENT: INTENT + ', template: "{text} This is about {mask}"',
        PAIR: PAIR + ', template: "{text_a} ? {text_b} {mask}", ' + WORDS,
        PROMPT: f"prompt: {{length: 4, init: normal, head: verbalizer, attention: {attention}}}",
    }
    plan = make_plan(verbal_config(tmp_path, changes, language_model("t5")))
    kinds = attention.strip("[]")
    assert f"attention of kind {kinds}" in plan.method
