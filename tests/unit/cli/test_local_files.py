"""Secrets, remembered facts, lock and logs of a data folder."""

import os
from pathlib import Path

import pytest

from tallypost_cli import (
    checkout_lock,
    clean_data,
    folders,
    local_secrets,
    local_state,
    sample_access,
)
from tallypost_cli.child_logs import ChildLogs
from tallypost_cli.embedded.postgres import refuse_live_server
from tallypost_cli.errors import StartUpError
from tallypost_core.crypto import KeyRing

_ROLES = ("tp_api", "tp_cli")


def test_secrets_are_made_once_and_kept_for_their_owner_only(tmp_path: Path) -> None:
    made = local_secrets.load_or_make(tmp_path, _ROLES)
    assert local_secrets.load_or_make(tmp_path, _ROLES) == made
    assert (tmp_path / "secrets.env").stat().st_mode & 0o777 == 0o600
    assert len({*made.role_passwords.values(), made.owner_password, made.redis_password}) == 4


def test_the_key_ring_and_the_peppers_are_what_the_apps_can_read(tmp_path: Path) -> None:
    made = local_secrets.load_or_make(tmp_path, _ROLES)
    assert KeyRing.from_setting(made.key_ring).newest.name == "local"
    assert KeyRing.from_setting(made.peppers).newest != KeyRing.from_setting(made.key_ring).newest


def test_a_role_that_came_later_gets_a_password_and_the_others_keep_theirs(tmp_path: Path) -> None:
    before = local_secrets.load_or_make(tmp_path, _ROLES)
    after = local_secrets.load_or_make(tmp_path, (*_ROLES, "tp_new"))
    assert after.role_passwords["tp_new"]
    assert {role: after.role_passwords[role] for role in _ROLES} == before.role_passwords
    assert after.key_ring == before.key_ring


def test_lost_secrets_are_not_replaced_while_their_data_is_there(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    with pytest.raises(StartUpError, match="clean-data"):
        local_secrets.load_or_make(tmp_path, _ROLES)


def test_what_was_remembered_is_found_again_and_rubbish_is_forgotten(tmp_path: Path) -> None:
    state = local_state.replace(local_state.load(tmp_path), postgres_port=5555, applied="abc")
    local_state.save(tmp_path, state)
    assert local_state.load(tmp_path) == state
    (tmp_path / "state.json").write_text("{")
    assert local_state.load(tmp_path) == local_state.LocalState()


def test_the_fingerprint_differs_with_the_server_and_with_each_password() -> None:
    prints = {
        local_state.fingerprint("embedded", ["a", "b"]),
        local_state.fingerprint("elsewhere", ["a", "b"]),
        local_state.fingerprint("embedded", ["a", "c"]),
        local_state.fingerprint("embedded", ["ab"]),
    }
    assert len(prints) == 4
    assert local_state.fingerprint("embedded", ["a", "b"]) in prints


def test_logins_and_keys_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "seed.env"
    assert not sample_access.read(path).is_complete
    tenant = sample_access.TenantAccess("o@example.com", "pass=word", "live", "test", "s")
    access = sample_access.SampleAccess(tenant, tenant, "op@example.net", "#secret")
    sample_access.write(path, access)
    assert sample_access.read(path) == access
    assert access.is_complete
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_private_file_is_replaced_at_once_and_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(mode=0o644)
    folders.write_private_file(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    assert checkout_lock.running_supervisor(tmp_path) is None
    with checkout_lock.hold(tmp_path):
        assert checkout_lock.running_supervisor(tmp_path) == os.getpid()
        with (
            pytest.raises(StartUpError, match=f"pid {os.getpid()}"),
            checkout_lock.hold(tmp_path),
        ):
            pass
    assert checkout_lock.running_supervisor(tmp_path) is None


def test_data_is_not_deleted_while_somebody_works_on_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with checkout_lock.hold(folder), pytest.raises(StartUpError, match="already runs"):
        clean_data.run(folder, lambda line: None)
    assert folder.exists()
    clean_data.run(folder, lambda line: None)
    assert not folder.exists()


def test_a_new_start_begins_a_new_log_and_keeps_the_one_before(tmp_path: Path) -> None:
    logs = ChildLogs(tmp_path / "logs")
    with logs.open("api") as file:
        file.write(b"first start\n")
    logs.rotate("api")
    with logs.open("api") as file:
        file.write(b"second start\n")
    assert logs.tail("api") == ["second start"]
    assert logs.path("api").with_name("api.log.1").read_text() == "first start\n"


def test_the_tail_of_a_log_begins_after_the_mark_and_is_short(tmp_path: Path) -> None:
    logs = ChildLogs(tmp_path / "logs")
    with logs.open("api") as file:
        file.write(b"before\n")
        file.flush()
        mark = logs.size("api")
        file.write(b"".join(b"line %d\n" % number for number in range(100)))
    assert logs.tail("api", since=mark)[-1] == "line 99"
    assert len(logs.tail("api", since=mark)) == 15
    assert "before" not in logs.tail("api", since=mark)
    assert logs.tail("nobody") == []


def test_a_log_that_grew_too_large_is_emptied_while_its_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallypost_cli.child_logs._MAX_BYTES", 10)
    logs = ChildLogs(tmp_path / "logs")
    with logs.open("api") as file:
        file.write(b"more than ten bytes\n")
        file.flush()
        logs.cap("api")
        file.write(b"later\n")
    assert logs.path("api").read_text() == "later\n"
    assert logs.path("api").with_name("api.log.1").read_text() == "more than ten bytes\n"


def test_a_pid_file_of_a_dead_server_is_left_to_postgres(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text("999999999\n")
    refuse_live_server(tmp_path)
    assert (tmp_path / "postmaster.pid").exists()


def test_a_pid_file_whose_pid_went_to_another_program_is_removed(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")
    refuse_live_server(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()
