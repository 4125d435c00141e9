from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from telebeam.pipelines.config import check_secrets, load_config
from telebeam.transforms.errors import ConfigurationError

CONFIGS = Path(__file__).resolve().parent.parent / "fixtures" / "configs"
MINIMAL = (CONFIGS / "minimal.yaml").read_text(encoding="utf-8")
FULL = (CONFIGS / "full.yaml").read_text(encoding="utf-8")


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


SECRET = "hunter2-Zq9"


@pytest.mark.parametrize(
    "new",
    [
        f"token: {SECRET}",
        f"token: [{SECRET}]",
        f"token: {{value: {SECRET}}}",
        f"tokn: {SECRET}",
        f"password: {SECRET}",
        f"token: {SECRET}\n    token: {SECRET}",
        f"token: '{SECRET}",
        f"token: {SECRET}: {SECRET}",
        f"token: *{SECRET[:3]}\n    x: '{SECRET}",
    ],
)
def test_a_secret_is_never_repeated(config, refusal, new):
    assert SECRET not in refusal(config(replaced(FULL, "token: env:TELEBEAM_TEST_TOKEN", new)))


@pytest.mark.parametrize(
    "override", [f"sinks.influxdb.token={SECRET}", f"sinks.influxdb.token: {SECRET}", f"sinks.influxdb=u {SECRET}"]
)
def test_a_secret_on_the_command_line_is_never_repeated(config, refusal, override):
    assert SECRET not in refusal(config(FULL), override)


def test_a_secret_is_in_no_traceback(config):
    with pytest.raises(ConfigurationError) as caught:
        load_config(config(replaced(FULL, "token: env:TELEBEAM_TEST_TOKEN", f"token: {SECRET}: {SECRET}")))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_password_in_an_address_is_never_repeated(config, refusal):
    assert SECRET not in refusal(config(replaced(FULL, "http://localhost", f"ftp://me:{SECRET}@localhost")))


def test_a_numeric_secret_is_never_repeated(config, refusal):
    assert "1234567" not in refusal(config(replaced(FULL, "env:TELEBEAM_TEST_TOKEN", "1234567")))


def test_a_missing_secret_is_named_with_its_line(config, monkeypatch):
    monkeypatch.delenv("TELEBEAM_TEST_TOKEN", raising=False)
    path = config(FULL)
    with pytest.raises(ConfigurationError) as caught:
        check_secrets(load_config(path), path)
    assert "fleet.yaml:23: sinks.influxdb.token: the environment variable TELEBEAM_TEST_TOKEN" in str(caught.value)
    assert "export TELEBEAM_TEST_TOKEN" in str(caught.value)


def test_a_missing_secret_is_named_without_a_file(config, monkeypatch):
    monkeypatch.delenv("TELEBEAM_TEST_TOKEN", raising=False)
    with pytest.raises(ConfigurationError, match=r"sinks\.influxdb\.token"):
        check_secrets(load_config(config(FULL)))


def test_a_secret_that_is_there_is_fine(config, monkeypatch, tmp_path):
    monkeypatch.setenv("TELEBEAM_TEST_TOKEN", SECRET)
    check_secrets(load_config(config(FULL)))
    (tmp_path / "token").write_text(SECRET)
    check_secrets(load_config(config(FULL), [f"sinks.influxdb.token=file:{tmp_path / 'token'}"]))


def test_settings_without_secrets_need_none(config):
    check_secrets(load_config(config(MINIMAL)))


def test_a_secret_among_a_clients_own_settings_is_looked_for_before_anything_starts(config):
    kafka = "{bootstrap_servers: 'broker:9092', topics: [iot], config: {sasl.password: env:TELEBEAM_NOT_THERE}}"
    path = config(f"pipeline: fleet\nsource:\n  kafka: {kafka}\nsinks: {{lake: {{path: lake}}}}\n")
    with pytest.raises(ConfigurationError, match=r":3: source\.kafka\.config.*TELEBEAM_NOT_THERE"):
        check_secrets(load_config(path), path)
