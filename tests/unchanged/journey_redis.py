"""One line in an embedded Redis, step by step: every command that is sent, and what is left."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dump_redis
import dump_wire
import redis
from names import Renamed, look_up
from shell import Shell, shell, wait_until

LINE = "line-1"
_SHOWN_CHARS = 200
_END = "the journey ends here"
FAR_NS = 4_102_444_800 * dump_wire.SECOND_NS  # 2100-01-01
PAST_NS = 978_307_200 * dump_wire.SECOND_NS  # 2001-01-01
_OF_THE_CLIENT = (
    "CLIENT ",
    "HELLO ",
    "MONITOR",
    "PING",
    "SELECT ",
)  # sent by redis-py, by its version


def capture(root: Path) -> dict[str, Any]:
    """Return the commands that Redis saw, what each step returned, and every key at the end."""
    with shell(root) as opened, opened.redis(opened.folder / "redis") as url:
        plain = redis.Redis.from_url(url, protocol=2)
        client = look_up("open_client")(look_up("Access")(url))
        try:
            with _monitored(url, opened, root) as commands:
                returned = _Journey(client, plain, opened).run()
            return {
                "commands": commands,
                "returned": returned,
                "database": opened.shown.database(plain),
            }
        finally:
            client.close()
            plain.close()


class _Journey:
    """The steps; each says what it returned."""

    def __init__(self, client: Any, plain: redis.Redis, opened: Shell) -> None:  # noqa: ANN401
        limits = look_up("LineLimits")(1000, 100, 1 << 20)
        self._plain = plain
        self._shown = opened.shown

        def made(name: str, *arguments: object) -> Any:  # noqa: ANN401
            return Renamed(look_up(name)(client, LINE, *arguments))

        self._camera = made("FrameProducer", "cam-1", limits)
        self._worker = made("FrameConsumer", "worker-1", limits)
        self._other = made("FrameConsumer", "worker-2", limits)
        self._results = made("ResultReader")
        self._ledger = made("Ledger")
        self._controls = made("Controls")
        self._labels = made("LabelStream")
        self._swaps = made("RedisSwapCoordinator", "worker-1")
        self._rival = made("RedisSwapCoordinator", "worker-2")
        self._returned: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Take every step in turn."""
        for step in (self._offer, self._answer, self._read, self._speak, self._swap):
            self._mark(step.__name__.strip("_"))
            step()
        return self._returned

    def _mark(self, step: str) -> None:
        self._plain.echo(f"step {step}")

    def _say(self, what: str, returned: object) -> None:
        self._returned[f"{len(self._returned):02} {what}"] = self._shown.text(_plain(returned))

    def _offer_one(self, seq: int, due_ns: int = FAR_NS, *, shed: bool = False) -> Any:  # noqa: ANN401
        header = look_up("FrameHeader")(
            look_up("FrameMeta")("cam-1", seq, f"part-{seq}", dump_wire.CAPTURED_NS, due_ns),
            look_up("Codec")("raw"),
            (8, 8),
        )
        packed = look_up("encode_frame_header")(header)
        payload = b"" if seq == 1 else b"x" * 8
        return self._camera.offer(seq, packed, payload, 300, due_ns, f"cursor-{seq}", shed=shed)

    def _offer(self) -> None:
        camera = self._camera
        self._say("position", camera.position())
        camera.join()
        camera.join()
        self._say("hold", camera.hold("token-1", 60_000))
        self._say("hold again", camera.hold("token-1", 60_000))
        self._say("hold by another", camera.hold("token-2", 60_000))
        for seq in (0, 1, 4):
            self._say(f"offer {seq}", self._offer_one(seq))
        self._say("offer 4 again", self._offer_one(4))
        self._say("offer 5 to a full line", self._offer_one(5))
        self._say("room", camera.has_room(300))
        self._say("offer 5, shedding", self._offer_one(5, shed=True))
        self._say("still open", len(camera.still_open(["0-1"])))
        camera.note("lost")
        self._say("position", camera.position())
        camera.forget_cursor()
        camera.let_go("token-1")
        self._say("hold for the end", camera.hold("token-2", 60_000))

    def _answer(self) -> None:
        worker, answer = self._worker, look_up("Answer")
        decision, reason = look_up("Decision"), look_up("Reason")
        worker.join()
        worker.beat(look_up("encode_report")({"worker": "worker-1", "frames": 1}), 60_000)
        entries = worker.read(10, 0)
        self._say("read, pending", [len(entries), len(worker.mine())])
        judged = look_up("encode_judgement")(dump_wire.judgement())
        answers = [answer(entries[0], decision("NG"), judged), answer(entries[1], reason("ENGINE"))]
        self._say("answer", worker.answer(answers))
        self._say("answer again", worker.answer(answers[:1]))
        worker.bury(entries[1], "it cannot be read")
        self._say("offer 6, late", self._offer_one(6, PAST_NS))
        self._say("expire", worker.expire())
        self._offer_one(7)
        self._say("read by another", len(self._other.read(1, 0)))
        time.sleep(0.25)  # a frame must lie idle before it is taken over
        taken = worker.take_over(5)
        self._say("take over", [(entry.deliveries, entry.charged) for entry in taken])
        self._say("trim", worker.trim())
        self._say("counts", sorted(worker.counts().items()))
        self._say("waiting", worker.waiting())
        self._other.leave()

    def _read(self) -> None:
        results = self._results
        results.join("plc", from_start=True)
        results.join("late", from_start=False)
        page = results.read("plc", 2, 0, again=False)
        self._say("read", [(result.answer, result.judgement is None) for result in page])
        results.acknowledge("plc", [page[0].result_id])
        self._say("again", len(results.read("plc", 9, 0, again=True)))
        self._say("unacknowledged", len(results.unacknowledged("plc", "0", 9)))
        self._say("missed", results.missed("plc"))
        self._say("books", self._ledger.books())
        self._say("results", [result.answer for result in self._ledger.results("-", 100)])
        self._say("open headers", len(self._ledger.open_heads()))

    def _speak(self) -> None:
        for kind, fields in (
            ("threshold", {"image": 0.5, "engines": ["ab" * 32]}),
            ("pause", {}),
            ("look", {}),
        ):
            self._controls.send(look_up("encode_control")(kind, **fields))
        self._say("control", len(self._controls.since("0-0")))
        self._say("workers", sorted(self._controls.workers()))
        packed = look_up("encode_label")(dump_wire.label(defect="dent", mask=dump_wire.mask()))
        sent = [self._labels.send(packed) for _ in range(2)]
        self._say("label sent twice", [len(set(sent)), len(self._labels.since("0-0", 10))])

    def _swap(self) -> None:
        mine, theirs = self._swaps, self._rival
        self._say("hold", mine.hold(60_000))
        self._say("hold by another", theirs.hold(60_000))
        theirs.let_go()
        mine.let_go()
        self._say("hold after release", theirs.hold(60_000))
        self._say("alive", [mine.lives("worker-1"), mine.lives("worker-2")])
        note = mine.note
        field, trying = "prn-1a2b 2025-11-26T07:00:00+00:00", dump_wire.rollout("trying")
        before, after = (
            look_up("encode_rollout")(known) for known in (trying, dump_wire.rollout("held"))
        )
        self._say("note", [note(field, b"", before), note(field, b"", after)])
        self._say("note again", [note(field, before, after), note("gone", b"", before)])
        self._say("note nothing", note("gone", before, b""))
        self._say("noted", [mine.noted(field) == after, mine.noted("gone")])
        self._say("notes", sorted(mine.notes()))


def _plain(returned: object) -> str:
    """Return a value as text, a dataclass without the names of its class and fields."""
    slots = getattr(returned, "__dataclass_fields__", None)
    if slots is not None:
        return str([_plain(getattr(returned, name)) for name in slots])
    if isinstance(returned, tuple):
        return f"({', '.join(map(_plain, returned))})"
    return str(returned)


@contextmanager
def _monitored(url: str, opened: Shell, root: Path) -> Iterator[list[str]]:
    """Yield a list that holds, after the context, every command that the server saw in it."""
    commands: list[str] = []
    names = _script_names(root)
    client = redis.Redis.from_url(url, protocol=2)
    watching = threading.Event()

    def watch() -> None:
        with client.monitor() as monitor:
            watching.set()
            for seen in monitor.listen():
                command = str(seen["command"])
                if _END in command:
                    return
                if not command.startswith(_OF_THE_CLIENT):
                    within = "in a script: " if seen["client_type"] == "lua" else ""
                    commands.append(_short(within + opened.shown.text(_named(command, names))))

    thread = threading.Thread(target=watch)
    thread.start()
    wait_until(watching.is_set, "the monitor")
    try:
        yield commands
    finally:
        ending = redis.Redis.from_url(url, protocol=2)
        ending.echo(_END)
        thread.join()
        ending.close()
        client.close()


def _short(command: str) -> str:
    """Return a command, the end of a long one as its hash."""
    if len(command) <= _SHOWN_CHARS:
        return command
    rest = command[_SHOWN_CHARS:]
    hashed = dump_redis.short_hash(rest.encode())
    return f"{command[:_SHOWN_CHARS]}... and {len(rest)} characters, sha256 {hashed}"


def _script_names(root: Path) -> dict[str, str]:
    """Return a name for every script, by its SHA-1 and by its source as the monitor shows it."""
    names: dict[str, str] = {}
    for path in dump_redis.scripts(root):
        source = path.read_text("utf-8")
        name = f"<script {dump_redis.short_hash(dump_redis.code(source).encode())}>"
        names[dump_redis.sha1(source.encode())] = name
        names[source.replace("\\", "\\\\").replace("\n", "\\n")] = name
    return names


def _named(command: str, names: dict[str, str]) -> str:
    for shown, name in names.items():
        command = command.replace(shown, name)
    return command
