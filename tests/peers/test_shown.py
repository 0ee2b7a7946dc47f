"""Which test shows that a defect of another prompt library is not ours, and that there is such a test.

Of the same libraries as in `test_defects`, where those defects are that no test elsewhere shows.
"""

from __future__ import annotations

import re
from pathlib import Path

SHOWN = {
    "PEFT: a row's adapter name is accepted and ignored": [
        "backbone/test_attention.py::test_a_mixed_batch_gives_each_row_what_it_gets_alone",
        "serve/test_http.py::test_mixed_equals_separate",
    ],
    "PEFT: a decoder pools the padding of shorter rows under an input prompt": [
        "model/test_input_prompts.py::test_deep_and_input_prompts_in_one_batch_equal_each_row_alone",
        "registry/peft/test_import.py::test_a_sentence_adapter_answers_as_in_peft",
    ],
    "PEFT: prefixes use up positions, so a row that fits the model does not fit any more": [
        "backbone/test_attention.py::test_a_prompt_takes_no_positions"
    ],
    "PEFT: gradient checkpointing is refused, or fails in the backward pass": [
        "backbone/test_attention.py::test_gradient_checkpointing_changes_no_gradient"
    ],
    "PEFT: families refused for having no past_key_values": [
        "peers/test_defects.py::test_a_deep_prompt_works_in_every_encoder_whatever_a_cache_looks_like"
    ],
    "PEFT: a prompt encoder is evaluated once per row": [
        "training/test_methods.py::test_an_encoder_is_evaluated_once_per_prompt_and_step"
    ],
    "PEFT: prompts start as large as N(0, 1)": ["prompts/test_bank.py::test_normal_is_small_noise_of_its_seed"],
    "PEFT: left padding stands between prompt and text": [
        "model/test_writing.py::test_written_with_a_cache_as_step_by_step_without"
    ],
    "PEFT: input prompts drop positions and segments": [
        "model/test_input_prompts.py::test_an_input_prompt_is_its_vectors_among_the_embeddings"
    ],
    "PEFT: the embedding is guessed by its size": [
        "model/test_input_prompts.py::test_an_input_prompt_is_its_vectors_among_the_embeddings"
    ],
    "PEFT: soft tokens of P-tuning stand in front only": [
        "model/test_verbalizer.py::test_soft_tokens_stand_between_the_templates_words"
    ],
    "PEFT: a prompt's MLP or LSTM is lost when it is saved": [
        "training/test_methods.py::test_resumed_equals_uninterrupted_to_the_last_bit"
    ],
    "PEFT: zero keys and values do something, and nothing else stands for no prompt": [
        "model/test_model.py::test_a_prompt_of_no_places_is_the_bare_model"
    ],
    "PEFT: multitask prompt tuning has no teachers": [
        "training/pretraining/test_pretrain_kinds.py::test_students_learn_from_gold_and_from_their_teachers_who_learn_no_more"
    ],
    "PEFT: prompts do not train on a backbone that ZeRO-3 shards": [
        "training/pretraining/test_sharded.py::test_sharded_equals_replicated"
    ],
    "PEFT: a head was left out of what is saved": [
        "training/test_methods.py::test_baked_and_saved_equals_trained_to_the_last_bit",
        "registry/peft/test_export.py::test_there_and_back_nothing_is_lost",
    ],
    "PEFT: the class for questions drops segments and positions": [
        "registry/peft/test_import.py::test_questions_are_asked_as_peft_asks_them"
    ],
    "PEFT: a pooler drawn at random answers, and is not saved": [
        "registry/peft/test_hostile_folders.py::test_a_pooler_that_was_drawn_at_random_is_not_made_up"
    ],
    "PEFT: no multiple choice": ["training/test_trained_kinds.py::test_all_types_in_one_cohort_end_as_each_alone"],
    "P-tuning v2: a random pooler is frozen under the head": ["backbone/test_source.py::test_no_pooler_is_kept"],
    "P-tuning v2: nothing is saved": [
        "training/adaptation/test_cohort.py::test_baked_equals_trained_to_the_last_bit",
        "registry/test_artifact.py::test_loaded_equals_saved_bit_for_bit",
    ],
    "P-tuning v2: the frozen backbone stays in training mode, its dropout on": [
        "training/adaptation/test_cohort.py::test_frozen_means_evaluation_mode"
    ],
    "P-tuning v2: a search is that many runs": [
        "training/adaptation/test_cohort.py::test_tasks_together_equal_each_alone_whenever_they_enter"
    ],
    "P-tuning v2: rows are padded to the longest that may come": [
        "tasks/encoding/test_batching.py::test_a_batch_holds_each_row_and_nothing_else"
    ],
    "adapters: of unequal prefixes in one batch the shorter one attends to padding": [
        "backbone/test_attention.py::test_a_mixed_batch_gives_each_row_what_it_gets_alone"
    ],
    "adapters: only contiguous rows may share a prompt": [
        "backbone/test_attention.py::test_order_and_padding_change_nothing"
    ],
    "adapters: input prompts of a batch are all the first one": [
        "model/test_input_prompts.py::test_deep_and_input_prompts_in_one_batch_equal_each_row_alone"
    ],
    "adapters: every prompt is made for the whole batch, then cut": [
        "prompts/test_bank.py::test_a_stack_holds_each_prompt_in_its_layers_and_nothing_else"
    ],
    "OpenPrompt: soft tokens are put in one by one": [
        "prompts/test_layout.py::test_every_row_is_what_it_would_be_built_by_itself",
        "peers/test_defects.py::test_many_rows_take_as_many_operations_as_few",
    ],
    "OpenPrompt: the whole vocabulary is scored at every token": [
        "model/test_verbalizer.py::test_the_vocabulary_is_computed_where_rows_are_read_and_nowhere_else"
    ],
    "OpenPrompt: what is saved is a pickle": [
        "registry/test_tampering.py::test_a_pickle_is_never_opened",
        "registry/peft/test_hostile_folders.py::test_pickles_are_not_opened",
    ],
    "NeMo: prompts that train together have one length": [
        "training/adaptation/test_cohort.py::test_together_equals_alone"
    ],
    "vLLM: prompts are taken in half precision": ["model/test_input_prompts.py::test_bfloat16_rows_take_fp32_prompts"],
}


def test_what_is_shown_elsewhere_is_shown():
    room = Path(__file__).resolve().parents[1]
    missing = []
    for named in (name for names in SHOWN.values() for name in names):
        file, name = named.split("::")
        if name not in re.findall(r"(?m)^ *def (test_\w+)", (room / file).read_text(encoding="utf-8")):
            missing.append(named)
    assert not missing
