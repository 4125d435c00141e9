import logging

import pytest
from confluent_kafka import KafkaError

from telebeam.io.kafka.cluster import Place, patiently
from telebeam.io.kafka.errors import COMPLAINT_SECONDS, Complaints, ErrorListener, refusal
from telebeam.io.kafka.progress import within
from telebeam.transforms.errors import AwayError, SinkError, SourceError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KafkaError(KafkaError._AUTHENTICATION, "Invalid username or password"), "refuses the login"),
        (KafkaError(KafkaError._SSL, "certificate verify failed"), "encrypted connection"),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"), "k: no"),
        (KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no"), "no such topic"),
        (KafkaError(KafkaError._BAD_MSG, "no"), "damaged"),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "no"), "too large"),
    ],
)
def test_what_waiting_does_not_mend_is_refused_in_words(error: KafkaError, said: str):
    refused = refusal(error, "k", SinkError)
    assert isinstance(refused, SinkError)
    assert said in refused.message


@pytest.mark.parametrize(
    "error",
    [
        KafkaError(KafkaError._TRANSPORT, "Connection refused"),
        KafkaError(KafkaError._TIMED_OUT, "Timed out"),
        KafkaError(KafkaError._RESOLVE, "Name or service not known"),
        KafkaError(KafkaError._SSL, "SSL handshake failed: Disconnected"),
        KafkaError(KafkaError._AUTHENTICATION, "SaslAuthenticateRequest failed: Local: Broker transport failure"),
        KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION, "moved"),
        KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"),
    ],
)
def test_what_passes_is_waited_for(error: KafkaError):
    assert refusal(error, "k") is None


def test_the_first_refusal_stays_and_the_last_trouble_is_told():
    listener = ErrorListener("k")
    listener(KafkaError(KafkaError._TRANSPORT, "refused"))
    listener(KafkaError(KafkaError._ALL_BROKERS_DOWN, "all down"))
    listener.check()
    assert listener.trouble == "refused"
    listener(KafkaError(KafkaError._AUTHENTICATION, "wrong password"))
    listener(KafkaError(KafkaError._TRANSPORT, "gone"))
    for _ in range(2):
        with pytest.raises(SourceError, match="wrong password"):
            listener.check()


def test_a_wait_is_told_at_once_and_then_rarely(caplog: pytest.LogCaptureFixture):
    now = 100.0
    complaints = Complaints(logging.getLogger("waits"), lambda: now)
    for step in range(31):
        now = 100.0 + step
        complaints.say("away")
    assert len(caplog.records) == 1 + 30 // COMPLAINT_SECONDS


def test_a_question_is_asked_until_it_is_answered_with_growing_pauses():
    pauses: list[float] = []
    answers = iter([AwayError("away")] * 7)

    def question() -> str:
        error = next(answers, None)
        if error:
            raise error
        return "there"

    assert patiently(question, lambda text: None, lambda seconds: bool(pauses.append(seconds))) == "there"
    assert pauses == sorted(pauses)
    assert len(pauses) == 7


def test_a_question_is_not_asked_beyond_its_time():
    now = 0.0

    def pause(seconds: float) -> bool:
        nonlocal now
        now += seconds
        return False

    def question() -> None:
        raise AwayError("away")

    with pytest.raises(AwayError):
        patiently(question, lambda text: None, pause, 12.0, lambda: now)
    assert 5 < now <= 7


@pytest.mark.parametrize(("at", "goes_on"), [(5, 5), (7, 7), (10, 10)])
def test_within_its_log_a_partition_goes_on_where_it_was(at: int, goes_on: int):
    assert within(at, 5, 10, Place("t", 0), "fail") == goes_on


def test_a_gap_is_counted():
    with pytest.raises(SourceError, match=r"1,234 records of partition 3 of topic t .* \(offsets 0 to 1,233\)"):
        within(0, 1234, 5000, Place("t", 3), "fail")
    assert within(0, 1234, 5000, Place("t", 3), "skip") == 1234
