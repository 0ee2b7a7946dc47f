"""Every method trains as deep prompts do: together equals alone, resumed equals uninterrupted, baked equals trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.errors import InputError
from pipeline.prompts import Recipe
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.distil import DistilSettings, distil
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Candidate
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.evaluation.evaluate import answer_split
from pipeline.training.results import load_trained, save_trained
from pipeline.training.starts import Start, make_prompt
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld
from tests.training.adaptation.test_cohort import assert_same
from tests.training.worlds import Interrupted, Stop

RECIPES = {
    "deep": Recipe(),
    "prefix": Recipe("prefix", "mlp"),
    "prompt_tuning": Recipe("prompt_tuning", layout="after_first"),
    "at the end": Recipe("prompt_tuning", layout="end"),
    "p_tuning": Recipe("p_tuning", "bilstm+mlp", "{2} text {1}"),
    "p_tuning lstm": Recipe("p_tuning", "lstm", "{1} text label"),
    "p_tuning mlp": Recipe("p_tuning", "mlp", "front"),
}
SETTINGS = SearchSettings(steps=6, rows=6, warmup=0.25, evaluate_every=3, patience=0, seed=3)


def start_of(model, recipe, init="vocabulary"):
    shape = model.info.prompt_shape(4, 0, recipe.deep)
    return Start(torch.randn(*shape, generator=torch.Generator().manual_seed(1)), {}, init, recipe)


def candidates_of(recipe):
    """A shared and a fresh start, a depth where there is one, and a head alone."""
    upper = 2 if recipe.deep else 0
    return [Candidate("scratch", 3, 0, 1e-2, 0), Candidate("shared", 5, upper, 3e-3, 1)]


HEAD = Candidate("scratch", 0, 2, 1e-2, 4)


def everything(model, task):
    """A search per method, and one of a head alone."""
    searches = [Search(task, candidates_of(r), start_of(model, r), SETTINGS) for r in RECIPES.values()]
    return [*searches, Search(task, [HEAD], start_of(model, Recipe("head")), SETTINGS)]


def cohort_of(model, searches, world, **how):
    pooling = "last" if model.info.causal else "mean"
    return Cohort(model, searches, CohortSettings(pooling, checkpoint_every=2, **how), world)


@pytest.mark.parametrize(("family", "name"), [("bert", "slots"), ("bert", "same_issue"), ("llama", "urgency")])
def test_all_methods_in_one_cohort_end_where_each_ends_alone(family, name, backbone, prepared, tmp_path):
    model, task = backbone(family), prepared(name, family, 24, 8)
    together = cohort_of(model, everything(model, task), LocalWorld(tmp_path), tokens_per_pass=150).run()
    for s, search in enumerate(everything(model, task)):
        for n, candidate in enumerate(search.candidates):
            alone = Search(task, [candidate], search.start, SETTINGS)
            ((one,),) = cohort_of(model, [alone], LocalWorld(tmp_path / f"{s}.{n}")).run()
            assert_same(together[s][n], one)
            assert one.prompt.shape == model.info.prompt_shape(
                candidate.length, candidate.first_layer, one.layout is None
            )


@pytest.fixture(scope="module")
def methods(backbone, prepared, tmp_path_factory):
    model, task = backbone("bert"), prepared("slots", room=8)
    cohort = cohort_of(model, everything(model, task), LocalWorld(tmp_path_factory.mktemp("methods")))
    return model, task, cohort, cohort.run()


def test_resumed_equals_uninterrupted_to_the_last_bit(methods, tmp_path):
    model, task, _, whole = methods
    with pytest.raises(Stop):
        cohort_of(model, everything(model, task), Interrupted(tmp_path / "parts", at=5)).run()
    assert LocalWorld(tmp_path / "parts").latest().name == "00000004"
    resumed = cohort_of(model, everything(model, task), LocalWorld(tmp_path / "parts")).run()
    for before, after in zip(whole, resumed, strict=True):
        for one, other in zip(before, after, strict=True):
            assert torch.equal(one.prompt, other.prompt) and torch.equal(one.weight, other.weight)
            assert one.curve == other.curve and one.layout == other.layout


def test_baked_and_saved_equals_trained_to_the_last_bit(methods, tmp_path):
    model, task, cohort, found = methods
    for s, own in enumerate(found):
        members = [(cohort.first[s] + n,) * 2 for n in range(len(own))]
        if any(one.step != SETTINGS.steps for one in own):
            continue  # dev liked an earlier state: the live one is another
        save_trained(tmp_path, own)
        baked = answer_together(model, task, "dev", load_trained(tmp_path), pooling="mean")
        assert torch.equal(answer_split(cohort.model, task, "dev", members, rows_per_batch=256).logits, baked.logits)
    assert sum(one.step == SETTINGS.steps for own in found for one in own) > 6


def test_an_encoder_is_evaluated_once_per_prompt_and_step(backbone, prepared, tmp_path):
    """However many rows and passes; beside that once for each look at dev and once to be baked (peers 3.1a)."""
    model, task = backbone("bert"), prepared("slots", room=8)
    searches = [
        Search(task, candidates_of(RECIPES[n]), start_of(model, RECIPES[n]), SETTINGS) for n in ("prefix", "p_tuning")
    ]
    cohort = cohort_of(model, searches, LocalWorld(tmp_path), tokens_per_pass=60)
    calls = []
    for n, encoder in enumerate(cohort.model.bank.encoders):
        encoder.register_forward_pre_hook(lambda *_, n=n: calls.append(n))
    passes = []
    original = cohort._passes
    cohort._passes = lambda: passes.append(original()) or passes[-1]
    cohort.run()
    assert min(map(len, passes)) > 4
    looks = 2
    assert [calls.count(n) for n in range(4)] == [SETTINGS.steps + 2 * looks] * 4


def test_a_row_that_has_no_room_for_its_prompt_is_refused(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("slots")
    search = Search(task, candidates_of(RECIPES["p_tuning"]), start_of(model, RECIPES["p_tuning"]), SETTINGS)
    with pytest.raises(InputError, match="no room for its prompt"):
        cohort_of(model, [search], LocalWorld(tmp_path)).run()


def test_a_head_alone_is_a_linear_probe(backbone, prepared, tmp_path):
    """The bare backbone's vectors under a linear map, trained beside prompts and not touched by them."""
    model, task = backbone("bert"), prepared("intent", room=8)
    searches = everything(model, task)
    (trained,) = cohort_of(model, searches, LocalWorld(tmp_path)).run()[-1]
    answers = answer_together(model, task, "dev", [trained], pooling="mean").logits[0]
    from pipeline.model import PromptedModel
    from pipeline.tasks import HeadBank, collate

    heads = HeadBank([task.head("mean")], 32, [0])
    heads.put(0, trained.weight, trained.bias)
    rows = task.encoded["dev"].take(range(6))
    batch = collate(rows, prompt=[0] * 6, head=[0] * 6, pad_token_id=0)
    assert torch.allclose(PromptedModel(model, None, heads)(batch).logits[0], answers[:6], atol=1e-5)


@pytest.mark.parametrize("method", ["prompt_tuning", "p_tuning"])
def test_an_input_prompt_learns_from_an_ensemble(method, backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("intent", room=8)
    search = Search(task, candidates_of(RECIPES[method]), start_of(model, RECIPES[method]), SETTINGS)
    (teachers,) = cohort_of(model, [search], LocalWorld(tmp_path)).run()
    settings = DistilSettings(steps=6, rows=6, warmup=0.1, evaluate_every=3, seed=0, pooling="mean")
    learnt = distil(model, task, teachers, "mean", teachers[0], settings, LocalWorld(tmp_path), Trunks(model))
    assert learnt.layout == RECIPES[method].layout and learnt.prompt.shape == teachers[0].prompt.shape
    assert (learnt.score, -learnt.loss) >= (teachers[0].score, -teachers[0].loss)


@pytest.mark.parametrize("recipe", [RECIPES["deep"], RECIPES["prompt_tuning"]])
class TestInitialisers:
    def make(self, backbone, recipe, init, places=4, **how):
        model = backbone("bert")
        text = how.pop("text", None)
        return make_prompt(init, model, places, 0, 1, replace(recipe, text=text), **how)

    def states(self, backbone, recipe, words):
        model = backbone("bert")
        ids = torch.tensor(model.tokenizer(words, add_special_tokens=False)["input_ids"])
        return model.states_of(ids)[1:] if recipe.deep else model.embeddings_of(ids)

    def test_shape_and_seed(self, recipe, backbone):
        shape = backbone("bert").info.prompt_shape(4, 1, recipe.deep)
        for init in ("vocabulary", "normal", "uniform", "text", "labels"):
            made = self.make(backbone, recipe, init, text="the order", labels=("late",))
            assert made.shape == shape and torch.equal(
                made, self.make(backbone, recipe, init, text="the order", labels=("late",))
            )
        assert 0.4 < float(self.make(backbone, recipe, "uniform").abs().max()) <= 0.5

    def test_text_is_repeated_or_cut(self, recipe, backbone):
        made = self.make(backbone, recipe, "text", text="the order late")
        assert torch.allclose(made, self.states(backbone, recipe, "the order late the"), atol=1e-6)
        cut = self.make(backbone, recipe, "text", 2, text="the order late")
        assert torch.allclose(cut, self.states(backbone, recipe, "the order"), atol=1e-6)

    def test_labels_stand_first_each_the_mean_of_its_pieces(self, recipe, backbone):
        made = self.make(backbone, recipe, "labels", labels=("not_late", "soon"))
        axis = 3 if recipe.deep else 0
        pieces = self.states(backbone, recipe, "not late soon")
        assert torch.allclose(made.narrow(axis, 0, 1), pieces.narrow(axis, 0, 2).mean(axis, keepdim=True), atol=1e-6)
        assert torch.allclose(made.narrow(axis, 1, 1), pieces.narrow(axis, 2, 1), atol=1e-6)
        assert torch.equal(made.narrow(axis, 2, 2), self.make(backbone, recipe, "vocabulary", 2))

    def test_another_prompt_is_cut_or_extended(self, recipe, backbone):
        axis = 3 if recipe.deep else 0
        other = torch.randn(*backbone("bert").info.prompt_shape(3, 2, recipe.deep))
        made = self.make(backbone, recipe, "prompt", source=other)
        top = made[-1:] if recipe.deep else made
        assert torch.equal(top.narrow(axis, 0, 3), other)
        with pytest.raises(InputError, match="another method"):
            self.make(backbone, recipe, "prompt", source=torch.zeros(3, 2, 1))

    def test_a_text_without_tokens_is_refused(self, recipe, backbone):
        with pytest.raises(InputError, match="has no tokens"):
            self.make(backbone, recipe, "text", text=" ")
