"""What MLflow and its users can do to a promotion half-way, and to the names it needs."""

from __future__ import annotations

import time

import pytest

from pipeline.errors import InputError
from pipeline.registry import PromptRegistry
from pipeline.registry.versions import audit as audit_log


@pytest.fixture
def two(registry, make):
    for seed in (1, 2, 3):
        registry.register(make(seed=seed), alias="champion" if seed == 1 else None)
    return registry


@pytest.fixture
def cut_off(two, monkeypatch):
    """A promotion of version 2 that died between its record and its alias."""
    from mlflow import MlflowClient

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", dies)
        with pytest.raises(KeyboardInterrupt):
            two.promote("intent", 2, by="ada@lab")
    assert two.aliases() == {"intent": 1}
    return two


def test_a_decision_cut_off_just_now_is_carried_out_by_the_next(cut_off):
    with pytest.raises(InputError, match="ada@lab made it version 2"):
        cut_off.promote("intent", 3, expected=1)
    assert cut_off.aliases() == {"intent": 2}
    assert cut_off.promote("intent", 3, expected=2).previous == 2


def test_a_decision_cut_off_long_ago_is_not(cut_off, monkeypatch):
    now = time.time()
    monkeypatch.setattr(audit_log.time, "time", lambda: now + 3600)
    assert cut_off.promote("intent", 3, expected=1).previous == 1
    assert [(move.version, move.previous) for move in cut_off.history("intent")] == [(3, 1), (2, 1), (1, None)]
    assert cut_off.rollback("intent").version == 1


def test_a_decision_that_comes_in_between_is_seen(two, monkeypatch):
    """Someone decides after this promoter has written its decision and before it has moved the alias."""
    from mlflow import MlflowClient

    move_alias, other, turns = MlflowClient.set_registered_model_alias, PromptRegistry(two.uri, two.prefix), []

    def slow(client, name, alias, version):
        turns.append(version)
        if len(turns) == 1:
            other.promote("intent", 3, by="the other")
        move_alias(client, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", slow)
    assert two.promote("intent", 2).previous == 1
    assert two.aliases() == {"intent": 3}  # the last decision, though the first one's alias was set last of all
    assert [(move.version, move.previous) for move in two.history("intent")][:2] == [(3, 2), (2, 1)]


def test_a_decision_between_the_look_at_the_log_and_at_the_alias_is_told_with_its_promoter(two, monkeypatch):
    moved_when_looked_at(two, monkeypatch, 2, "ada@lab")
    with pytest.raises(InputError, match="ada@lab made it version 2"):
        two.promote("intent", 3, expected=1)
    assert two.aliases() == {"intent": 2}


def test_who_carries_out_an_earlier_decision_does_not_undo_a_later_one(cut_off, monkeypatch):
    moved_when_looked_at(cut_off, monkeypatch, 3, "bob@lab")
    with pytest.raises(InputError, match="bob@lab made it version 3"):
        cut_off.promote("intent", 1, expected=1)
    assert cut_off.aliases() == {"intent": 3} == {"intent": cut_off.history("intent")[0].version}


def moved_when_looked_at(registry, monkeypatch, version, by):
    """Somebody else promotes a version between the next promoter's look at the log and its look at the alias."""
    read, other = audit_log.AuditLog.read, PromptRegistry(registry.uri, registry.prefix)

    def stale(log, *arguments):
        monkeypatch.undo()
        chain = read(log, *arguments)
        other.promote("intent", version, by=by)
        return chain

    monkeypatch.setattr(audit_log.AuditLog, "read", stale)


def test_two_that_write_at_once_are_one_after_the_other(two, monkeypatch):
    """Someone decides after this promoter has looked and before it has written."""
    append, other = audit_log.AuditLog.append, PromptRegistry(two.uri, two.prefix)

    def late(log, *arguments):
        monkeypatch.undo()
        other.promote("intent", 3, by="the other")
        return append(log, *arguments)

    monkeypatch.setattr(audit_log.AuditLog, "append", late)
    assert two.promote("intent", 2).previous == 3
    monkeypatch.setattr(audit_log.AuditLog, "append", late)
    with pytest.raises(InputError, match="the other made it version 3"):
        two.rollback("intent")  # of version 2, which is the champion no longer
    assert two.aliases() == {"intent": 3} and len(two.history("intent")) == 4


def test_a_void_decision_seen_while_it_is_taken_away_does_not_matter(two):
    """MLflow reads the versions first and their tags later; in between one may be deleted with its tags."""
    log = f"{two.prefix}-audit"
    with two.connection.open() as client:
        source = client.get_model_version(log, "1").source
        run_id = client.get_model_version(log, "1").run_id
        client.create_model_version(log, source, run_id=run_id, tags={"deepprompt.task": "intent"})
    assert len(two.history("intent")) == 1
    assert two.promote("intent", 2).previous == 1


def test_an_answer_that_was_lost_is_no_second_decision(two, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    create = MlflowClient.create_model_version

    def loses(client, *arguments, **named):
        create(client, *arguments, **named)
        monkeypatch.undo()
        raise MlflowException("the connection was closed")

    monkeypatch.setattr(MlflowClient, "create_model_version", loses)
    assert two.promote("intent", 2).previous == 1
    assert len(two.history("intent")) == 2


def test_a_deleted_version_is_not_gone_back_to(two):
    two.promote("intent", 2)
    with two.connection.open() as client:
        client.delete_model_version(two.resolve("intent").name, "1")
    with pytest.raises(InputError, match="no such version; found v1"):
        two.rollback("intent")
    assert two.aliases() == {"intent": 2}


def test_a_name_taken_by_a_text_prompt_is_told(registry, make):
    import mlflow

    with registry.connection.open():
        mlflow.genai.register_prompt(f"{registry.prefix}.intent", "Say {{it}}")
    assert registry.list() == ()
    with pytest.raises(InputError, match="a text prompt of MLflow's Prompt Registry has this name") as told:
        registry.register(make())
    assert "choose another prefix" in told.value.message


def test_a_deleted_experiment_is_told(registry, make):
    with registry.connection.open() as client:
        client.delete_experiment(registry.experiment(client))
    with pytest.raises(InputError, match="the experiment was deleted in MLflow") as told:
        registry.register(make())
    assert "mlflow experiments restore" in told.value.message


@pytest.mark.parametrize("alias", ["Champion", "CHALLENGER"])
def test_aliases_that_some_databases_take_for_the_same(registry, alias):
    with pytest.raises(InputError, match=f"did you mean '{alias.lower()}'"):
        registry.promote("intent", 1, alias)
