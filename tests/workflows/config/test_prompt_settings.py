"""The choices of a method: each one that does not fit is an error that says what would."""

from __future__ import annotations

import pytest
import torch

from pipeline.backbone import describe, load_backbone
from pipeline.backbone.sites import KINDS
from pipeline.errors import InputError
from pipeline.prompts import Recipe
from pipeline.registry import Member, load_artifact, save_artifact
from pipeline.tasks import TASK_TYPES
from tests.families import family_backbone
from tests.registry.made import backbone_of, facts_of, make_artifact
from tests.tiny import tiny_backbone
from tests.workflows.small import small_config
from workflows.config.load import load_config
from workflows.config.sizes import check_prompts
from workflows.stages.graph import build_graph
from workflows.stages.loading import source_fingerprint
from workflows.stages.payloads import prompt_payload
from workflows.stages.workers import start_of

PROMPT = "prompt: {length: 4, init: normal}"


def config_with(folder, prompt, **changes):
    return small_config(folder, **{PROMPT: f"prompt: {prompt}", **changes})


GOOD = {
    "{length: 4}": Recipe(),
    "{method: prefix}": Recipe("prefix", "mlp"),
    "{method: prompt_tuning}": Recipe("prompt_tuning", "identity", "front"),
    "{method: prompt_tuning, place: end}": Recipe("prompt_tuning", "identity", "end"),
    '{method: p_tuning, template: "{3} text {2} label"}': Recipe("p_tuning", "bilstm+mlp", "{3} text {2} label"),
    "{method: p_tuning, encoder: lstm}": Recipe("p_tuning", "lstm", "front"),
    "{init: text, text: the order is late}": Recipe(text="the order is late"),
}


@pytest.mark.parametrize("prompt", GOOD)
def test_a_method_and_what_it_leaves_open(prompt, tmp_path):
    assert load_config(config_with(tmp_path, prompt)).prompt.recipe == GOOD[prompt]


BAD = {
    "{encoder: mlp}": ["prompt.encoder", "the method deep has no such encoder", "auto, identity"],
    "{method: p_tuning, encoder: lsmt}": ["prompt.encoder", "did you mean 'lstm'?"],
    "{method: prompt_tuning, place: frnt}": ["prompt.place", "did you mean 'front'?"],
    "{place: end}": ["prompt.place", "deep prompts stand in the layers", "prompt_tuning and p_tuning"],
    '{method: prompt_tuning, template: "{3} text"}': ["prompt.template", "a template of soft tokens goes with"],
    '{method: p_tuning, template: "{3} txt"}': ["prompt.template", "found txt", "did you mean 'text'?"],
    '{method: p_tuning, place: end, template: "{3} text"}': ["prompt.place", "a template says already"],
    "{method: prompt_tuning, first_layer: 2}": ["prompt.first_layer", "begin at the embeddings"],
    "{init: text}": ["prompt.init", "needs prompt.text"],
    "{init: prompt}": ["prompt.init", "needs prompt.source"],
    "{text: hello}": ["prompt.text", "goes with init: text"],
    "{attention: [encoder, cros]}": ["prompt.attention", "at least one of encoder, decoder, cross"],
    "{init: lables}": ["prompt.init", "did you mean 'labels'?"],
    "{method: head}": ["prompt.method", "no prompt to pretrain", "pretrain: null"],
}


@pytest.mark.parametrize("prompt", BAD)
def test_what_does_not_fit_is_one_clear_error(prompt, tmp_path):
    with pytest.raises(InputError) as told:
        load_config(config_with(tmp_path, prompt))
    assert "\n" not in told.value.message
    assert all(part in told.value.message for part in BAD[prompt]), told.value.message


PRETRAIN = {
    ("{length: 4}", "distil: true"): ["pretrain.distil", "kind: factors"],
    ("{method: prefix}", "kind: factors"): ["pretrain.kind", "in place of an encoder", "deep or prompt_tuning"],
    ("{length: 4}", "kind: retreival"): ["pretrain.kind", "did you mean 'retrieval'?"],
}


@pytest.mark.parametrize(("prompt", "pretrain"), PRETRAIN)
def test_kinds_of_pretraining_that_do_not_fit(prompt, pretrain, tmp_path):
    with pytest.raises(InputError) as told:
        load_config(config_with(tmp_path, prompt, **{"pretrain: {": f"pretrain: {{{pretrain}, "}))
    assert all(part in told.value.message for part in PRETRAIN[prompt, pretrain]), told.value.message


@pytest.mark.parametrize("where", ["backbone.pooling", "tasks.0.pooling"])
def test_a_label_with_a_place_leaves_no_pair(where, tmp_path):
    file = config_with(tmp_path, '{method: p_tuning, template: "{3} text_a label {2} text_b"}')
    with pytest.raises(InputError) as told:
        load_config(file, [f"{where}=pair"])
    for part in (where.split(".")[0], "pooling", "which alone is read", "found pair", "auto, mean, first or last"):
        assert part in told.value.message, told.value.message


def test_a_template_for_pairs_goes_with_pairs_only(tmp_path):
    with pytest.raises(InputError) as told:
        load_config(config_with(tmp_path, '{method: p_tuning, template: "{1} text_a text_b"}'))
    assert told.value.message.count("this task one text") == 2  # intent and slots; same_issue is a pair task


def test_a_decoders_words_need_prompts_before_them(tmp_path):
    """Where words answer each from their own state; one state of the whole text, or a text behind it, sees all."""
    changes = {str(tiny_backbone("bert")): str(tiny_backbone("gpt2"))}
    config = load_config(config_with(tmp_path, "{method: prompt_tuning, place: end}", **changes))
    with pytest.raises(InputError, match=r"do not see soft tokens behind them.*deep prompts"):
        build_graph(config)
    info = backbone_of("gpt2").info
    for kind in TASK_TYPES:
        alone = config.model_copy(update={"tasks": (config.tasks[0].model_copy(update={"type": kind}),)})
        assert bool(check_prompts(alone, info)) == (kind in ("token", "srl", "qa")), kind


def test_a_label_needs_a_mask_token(tmp_path):
    """Told before anything runs, where the tokenizer has none, as a decoder's usually has not."""
    import json
    import shutil

    from tests.tiny import tiny_backbone

    folder = shutil.copytree(tiny_backbone("gpt2"), tmp_path / "gpt2")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            plain = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps({k: v for k, v in plain.items() if k != "mask_token"}))
    prompt = '{method: p_tuning, template: "{2} text label"}'
    config = config_with(tmp_path, prompt, **{str(tiny_backbone("bert")): str(folder)})
    with pytest.raises(InputError, match=r"label needs a mask token.*leave label out"):
        build_graph(load_config(config))


def test_input_prompts_leave_room_in_the_context_and_have_no_depths(tmp_path):
    prompt = '{method: p_tuning, length: 9, template: "{1} text label"}'
    graph = build_graph(load_config(config_with(tmp_path, prompt)))
    assert graph.info.context == 64 and graph.text_context == 64 - 9 - 1  # the mask token takes a place, too
    assert {one.first_layer for one in graph.candidates("slots")} == {0}


def test_a_length_of_0_is_a_head_alone_at_one_depth(tmp_path):
    graph = build_graph(load_config(small_config(tmp_path, **{"lengths: [2, 4]": "lengths: [0, 4]"})))
    heads = [one for one in graph.candidates("slots") if one.length == 0]
    assert [(one.start, one.first_layer) for one in heads] == [("shared", 2), ("scratch", 2)]


def test_another_prompt_to_start_from_is_checked_before_anything_runs(tmp_path):
    make_artifact(tmp_path / "other", backbone_of("bert"))
    make_artifact(tmp_path / "ensemble", backbone_of("bert"), lengths=(2, 3), combine="mean")
    make_artifact(tmp_path / "head", backbone_of("bert"), lengths=(0,))
    config = load_config(config_with(tmp_path, "{init: prompt, source: other}"))
    assert build_graph(config).source == load_artifact(tmp_path / "other").manifest.fingerprint
    for prompt, told in (
        ("{init: prompt, source: nowhere}", "there is no artifact folder"),
        ("{init: prompt, method: prompt_tuning, source: other}", "of another kind"),
        ("{init: prompt, source: ensemble}", "an ensemble is several prompts.*found 2 members"),
        ("{init: prompt, source: head}", "a head alone"),
    ):
        with pytest.raises(InputError, match=told):
            build_graph(load_config(config_with(tmp_path, prompt)))


def test_another_prompt_to_start_from_stands_where_the_configs_prompts_stand(tmp_path):
    """An encoder-decoder's upper attentions are its decoder's: a prompt of its encoder alone is none for them."""
    model = load_backbone(str(family_backbone("t5")), attention=["encoder"])
    changes = {str(tiny_backbone("bert")): str(family_backbone("t5"))}
    sites = model.info.standing
    facts = facts_of(model, sites=sites)
    shape = (len(sites), 2, model.info.heads, 4, model.info.head_size)
    member = Member(torch.randn(shape), torch.randn(3, model.info.width), torch.randn(3))
    save_artifact(tmp_path / "other", [member], facts)
    config = load_config(config_with(tmp_path, "{init: prompt, source: other}", **changes))
    assert build_graph(config).source
    everywhere = config.model_copy(update={"prompt": config.prompt.model_copy(update={"attention": KINDS})})
    with pytest.raises(InputError, match=r"other attentions.*found encoder; expected encoder, decoder, cross"):
        source_fingerprint(everywhere, describe(str(family_backbone("t5")), attention=KINDS))


def test_candidates_start_from_another_prompt(tmp_path):
    """Through the config: what the artifact holds is what a candidate of its length begins with, to the last bit."""
    backbone = backbone_of("bert")
    make_artifact(tmp_path / "other", backbone, lengths=(4,))
    graph = build_graph(load_config(config_with(tmp_path, "{length: 4, init: prompt, source: other}")))
    start = start_of(prompt_payload(graph), None, "intent", [])
    (member,) = load_artifact(tmp_path / "other").members
    as_long = [one for one in graph.candidates("intent") if one.start == "scratch" and one.length == 4]
    assert {one.first_layer for one in as_long} == {0, 1, 2}
    for candidate in as_long:
        (begun,) = start.begin(backbone, candidate).parameters()
        assert torch.equal(begun, member.prompt[candidate.first_layer :])
