from __future__ import annotations

from telebeam.pipelines.settings import describe_settings, setting_at


def test_every_setting_says_what_it_does():
    assert not [setting.key for setting in describe_settings() if not setting.text]


def test_every_setting_is_found_by_its_path():
    assert setting_at(("windows", 3, "every")).key == "windows[].every"
    assert setting_at(("quality", "limits", "my.sensor", "min")).key == "quality.limits.NAME.min"
    assert setting_at(("quality", "nothing")) is None


def test_what_refers_to_a_secret_is_known_as_one():
    assert [setting.key for setting in describe_settings() if setting.secret] == [
        "sinks.influxdb.token", "sinks.alerts[].webhook.secret", "sinks.commands[].webhook.secret",
    ]  # fmt: skip
