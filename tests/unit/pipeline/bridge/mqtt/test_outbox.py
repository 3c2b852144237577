from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.mqtt.outbox import Message, Outbox


def message(number: int, done: list[int], *, retain: bool = False, topic: str = "t") -> Message:
    return Message(topic, str(number).encode, retain, lambda: done.append(number))


@given(st.lists(st.sampled_from(["put", "take", "acknowledge", "disconnect"])), st.integers(1, 4))
def test_messages_are_sent_in_order_until_each_is_acknowledged(
    steps: list[str], window: int
) -> None:
    outbox, done, in_flight = Outbox(), list[int](), list[tuple[int, int]]()
    put = packet = sent_since = 0
    for step in [*steps, "disconnect"]:
        if step == "put":
            outbox.put(message(put, done))
            put += 1
        elif step == "take" and (taken := outbox.take(window)) is not None:
            packet += 1
            outbox.sent(packet, taken)
            number = int(taken.payload())
            assert number == len(done) + len(in_flight)
            in_flight.append((packet, number))
            sent_since += 1
            assert len(in_flight) <= window
        elif step == "acknowledge" and in_flight:
            assert outbox.acknowledge(in_flight.pop(0)[0])
        elif step == "disconnect":
            outbox.disconnected()
            in_flight.clear()
    while (taken := outbox.take(window)) is not None:
        packet += 1
        outbox.sent(packet, taken)
        assert outbox.acknowledge(packet)
        assert not outbox.acknowledge(packet)
    assert done == list(range(put))


def test_only_the_newest_retained_message_of_a_topic_waits() -> None:
    outbox, done = Outbox(), list[int]()
    for number in range(3):
        outbox.put(message(number, done, retain=True))
    outbox.put(message(3, done, retain=True, topic="u"))
    taken = [outbox.take(9), outbox.take(9), outbox.take(9)]
    assert [one and one.payload() for one in taken] == [b"2", b"3", None]


def test_retained_message_in_flight_does_not_come_after_a_newer_one() -> None:
    outbox, done = Outbox(), list[int]()
    outbox.put(message(0, done, retain=True))
    first = outbox.take(9)
    assert first is not None
    outbox.sent(1, first)
    outbox.put(message(1, done, retain=True))
    outbox.disconnected()
    again = outbox.take(9)
    assert again is not None
    assert (again.payload(), outbox.take(9)) == (b"1", None)
