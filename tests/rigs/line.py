"""A line with cameras and workers of its own, that speaks real wire formats."""

import time

import numpy as np

from pipeline.codecs import Codec
from pipeline.frames import Decision, EngineName, FrameMeta, Judgement, Reason, Region, Timings
from pipeline.streams.connect import Client
from pipeline.streams.frame_consumer import Answer, Entry, FrameConsumer
from pipeline.streams.frame_producer import FrameProducer, OfferResult
from pipeline.streams.keys import LineLimits
from pipeline.streams.ledger import Ledger
from pipeline.wire import FrameHeader, encode_frame_header, encode_judgement

SOON_NS = 60 * 10**9


def head_of(camera: str, seq: int, deadline_ns: int) -> bytes:
    meta = FrameMeta(camera, seq, f"part-{seq}", time.time_ns(), deadline_ns)
    return encode_frame_header(FrameHeader(meta, Codec.RAW, (8, 8)))


def judgement_of(judged: Decision, score: float = 0.7) -> Judgement:
    mask = np.zeros((8, 8), np.bool_)
    mask[2:5, 3:6] = judged is Decision.NG
    return Judgement(
        judged=judged,
        score=score,
        normalised=0.6,
        threshold=0.5,
        pixel_threshold=0.5,
        regions=(Region(2, 3, 3, 3, 9, 0.9),) if judged is Decision.NG else (),
        mask=mask,
        engine=EngineName("fixed", "1", "0" * 64),
        timings=Timings(1.0, 2.0, 3.0, 4),
        worker="worker",
    )


class Plant:
    """One line, its cameras and workers."""

    def __init__(self, client: Client, name: str, limits: LineLimits | None = None) -> None:
        self.client, self.name, self.limits = client, name, limits or LineLimits()

    def camera(self, name: str = "cam") -> FrameProducer:
        producer = FrameProducer(self.client, self.name, name, self.limits)
        producer.join()
        return producer

    def worker(self, name: str = "worker") -> FrameConsumer:
        frame_consumer = FrameConsumer(self.client, self.name, name, self.limits)
        frame_consumer.join()
        return frame_consumer

    def saved_state(self) -> dict[bytes, bytes]:
        """All keys of the line, as the server could be started from."""
        found = self.client.scan_iter(match=f"{{{self.name}}}:*", count=1000)
        return {key: self.client.dump(key) for key in found}

    def go_back(self, state: dict[bytes, bytes]) -> None:
        """Put the server back to an earlier state, as a failover to a stale replica does."""
        pipe = self.client.pipeline(transaction=True)  # programs may live through it
        for key in self.client.scan_iter(match=f"{{{self.name}}}:*", count=1000):
            pipe.delete(key)
        for key, value in state.items():
            pipe.restore(key, 0, value, replace=True)
        pipe.execute()

    def ledger(self) -> Ledger:
        return Ledger(self.client, self.name)

    def offer(
        self, *seqs: int, camera: str = "cam", in_ns: int = SOON_NS, shed: bool = False
    ) -> list[OfferResult]:
        producer = self.camera(camera)
        due = time.time_ns() + in_ns
        return [
            producer.offer(seq, head_of(camera, seq, due), b"x" * 100, 100, in_ns, "", shed=shed)
            for seq in seqs
        ]

    def judge(self, decision: Decision | Reason = Decision.OK, count: int = 1000) -> list[str]:
        worker = self.worker()
        return worker.answer([say(entry, decision) for entry in worker.read(count, 0)])


def say(entry: Entry, decision: Decision | Reason) -> Answer:
    if isinstance(decision, Reason):
        return Answer(entry, decision)
    return Answer(entry, decision, encode_judgement(judgement_of(decision)))
