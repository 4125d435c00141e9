import base64
import zlib

import pytest
from apache_beam.internal import pickler
from pydantic import ValidationError

from telebeam.io.kafka.client import consumer_settings, resolved
from telebeam.io.kafka.feeds import KafkaFeeds
from telebeam.io.kafka.spec import MANAGED, SECRET_KEYS, KafkaSinkSpec, KafkaSourceSpec, milliseconds
from telebeam.transforms.errors import ConfigurationError


def source(**settings: object) -> KafkaSourceSpec:
    return KafkaSourceSpec(**{"bootstrap_servers": "localhost:9092", "topics": ("t",), **settings})


@pytest.mark.parametrize("key", MANAGED)
def test_a_setting_that_is_telebeams_own_is_refused_with_what_to_do_instead(key: str):
    with pytest.raises(ValidationError, match=f"{key} can't be set: "):
        source(config={key: "x"})
    with pytest.raises(ValidationError, match=f"{key} can't be set: "):
        KafkaSinkSpec(bootstrap_servers="a:1", topic="t", config={key: "x"})


@pytest.mark.parametrize("key", sorted(SECRET_KEYS))
def test_a_secret_is_taken_by_reference_only_and_never_repeated(key: str):
    with pytest.raises(ValidationError) as caught:
        source(config={key: "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert source(config={key: "env:KEY"}).config == {key: "env:KEY"}


def test_references_are_resolved_where_the_client_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / "user").write_text("tester\n")
    monkeypatch.setenv("SECRET", "hunter2")
    config = {"sasl.password": "env:SECRET", "sasl.username": f"file:{tmp_path}/user", "fetch.wait.max.ms": 5}
    assert resolved(config) == {"sasl.password": "hunter2", "sasl.username": "tester", "fetch.wait.max.ms": 5}
    monkeypatch.delenv("SECRET")
    with pytest.raises(ConfigurationError, match="SECRET"):
        resolved(config)


def test_feeds_travel_without_secrets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "hunter2")
    feeds = KafkaFeeds(source(config={"sasl.password": "env:SECRET"}), "g")
    sent = pickler.dumps(feeds, use_zlib=True)
    assert b"hunter2" not in zlib.decompress(base64.b64decode(sent))
    assert pickler.loads(sent, use_zlib=True) == feeds


def test_the_configuration_comes_before_our_defaults_and_not_before_what_we_rely_on():
    settings = consumer_settings("a:1", "g", {"queued.max.messages.kbytes": 5})
    assert settings["queued.max.messages.kbytes"] == 5
    assert (settings["enable.auto.commit"], settings["auto.offset.reset"], settings["group.id"]) == (
        False,
        "error",
        "g",
    )


@pytest.mark.parametrize("servers", ["", "a b:1", "a:99999", "a:0", "a:1,,b:2", "a:x", "http://a/b"])
def test_an_address_that_is_none_is_refused(servers: str):
    with pytest.raises(ValidationError, match="expected host:port"):
        source(bootstrap_servers=servers)


def test_an_address_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(ValidationError) as caught:
        source(bootstrap_servers="user:hunter2@broker:9092")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("servers", ["a", "a:1,b:2", "[::1]:9092", "SASL_SSL://broker.example.org:9093"])
def test_an_address_is_taken(servers: str):
    assert source(bootstrap_servers=servers).bootstrap_servers == servers


@pytest.mark.parametrize("topics", [(), ("a", "a"), ("a/b",), ("..",), ("",), ("ä",), ("x" * 250,)])
def test_topics_that_can_not_be_are_refused(topics: tuple[str, ...]):
    with pytest.raises(ValidationError):
        source(topics=topics)


@pytest.mark.parametrize("start", ["first", "2026-01-01T00:00:00", "", "2026-13-01T00:00:00Z"])
def test_a_start_that_is_none_is_refused(start: str):
    with pytest.raises(ValidationError):
        source(start=start)
    with pytest.raises(ValidationError):
        source(until=start)


def test_moments_count_from_1970_before_it_too():
    assert milliseconds("1969-12-31T23:59:59.999Z") == -1
    assert milliseconds("2026-01-01T01:00:00.123+01:00") == 1_767_225_600_123
