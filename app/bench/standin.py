"""The stand-in of the benchmark: a Messages API that streams thousands of answers at a steady pace and costs little.

It is a plain loop around epoll: every event of the text is made once for all streams, and a wheel that turns once in
the time between two events of a stream says whose turn it is. How late it was is counted for each event.

    python -m app.bench.standin '{"events": 200, "seconds": 10, "characters": 8000, "cert": null}'

Its first line is its URL; when its standard input ends, it says in a second line what it did, and ends.
"""

import json
import re
import selectors
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from app import wire
from app.bench.stats import Summary, summarise_counts
from app.bench.text import Text, make_text

STEP_SECONDS = 0.001
LATE_STEP = 0.0001
LATE_BOXES = 50_000
RECEIVE_BYTES = 65536
TOPIC = re.compile(rb"<topic>\\n(\w+) (\d+)\\n</topic>")
"""The topic as it stands in a request: what kind of answer it asks for, and its number."""

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"

Socket = socket.socket | ssl.SSLSocket


class Script:
    """What is sent in answer to a call, ready as bytes."""

    def __init__(self, text: Text) -> None:
        answer = text.answer
        self.opening = chunk(b"".join(map(wire.encode_event, wire.opening(answer))))
        self.deltas = [chunk(wire.encode_event(event)) for event in wire.deltas(answer)]
        self.deltas[-1] += chunk(b"".join(map(wire.encode_event, wire.closing(answer)))) + LAST_CHUNK
        self.at_once = b"".join(self.deltas)


class Stream:
    """One connection, and the answer that is streamed over it, if there is one."""

    __slots__ = ("place", "received", "rest", "shaken", "sock", "times")

    def __init__(self, sock: Socket) -> None:
        self.sock = sock
        self.shaken = not isinstance(sock, ssl.SSLSocket)
        self.received = b""
        self.rest = b""
        self.place = -1
        """The next event of the text; -1 where nothing is streamed."""
        self.times: list[float] | None = None
        """When each event was sent, where somebody wants to know."""


class StandIn:
    """The stand-in. A topic `paced 7` is answered at the pace; `watched 7` too, and its send times are kept; `warm 7`
    is answered all at once; `held 7` gets the first event and nothing more."""

    def __init__(self, text: Text, seconds: float, context: ssl.SSLContext | None) -> None:
        self.script = Script(text)
        self.context = context
        interval = seconds / len(text.pieces)
        count = max(round(interval / STEP_SECONDS), 1)
        self.step = interval / count
        self.wheel: list[list[Stream]] = [[] for _ in range(count)]
        self.turns = 0
        self.due = monotonic()
        self.calls = self.sent = self.held_back = self.gone = 0
        self.late = [0] * LATE_BOXES
        self.watched: dict[int, list[float]] = {}
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve_until_readable(self, file: Any) -> None:
        """Serve until there is something to read from `file`, its end included."""
        ended: list[bool] = []
        self.selector.register(file, selectors.EVENT_READ, lambda: ended.append(True))
        while not ended:
            now = monotonic()
            if now >= self.due:
                self.turn()
            for key, _ in self.selector.select(max(self.due - monotonic(), 0)):
                key.data()

    def turn(self) -> None:
        """Send the next event of every stream whose turn it is; at most one turn between two looks at the sockets."""
        slot = self.wheel[self.turns % len(self.wheel)]
        ended = [stream for stream in slot if not self.advance(stream)]
        for stream in ended:
            slot.remove(stream)
        self.turns += 1
        self.due += self.step

    def advance(self, stream: Stream) -> bool:
        """Send a stream's next event; False once the whole answer is with the system."""
        if stream.place < 0:
            return False
        deltas = self.script.deltas
        now = monotonic()
        if stream.place < len(deltas):
            self.late[min(int((now - self.due) / LATE_STEP), LATE_BOXES - 1)] += 1
            if stream.times is not None:
                stream.times.append(now)
            self.sent += 1
            stream.place += 1  # first: where the client is gone, sending ends the stream
            self.send(stream, deltas[stream.place - 1])
        elif stream.rest:
            self.send(stream, b"")
        if stream.place < len(deltas) or stream.rest:
            return stream.place >= 0
        stream.place = -1
        return False

    def send(self, stream: Stream, data: bytes) -> None:
        """Send what is left over and `data`; what the client does not take stays for the next turn."""
        if stream.rest:
            data = stream.rest + data
        try:
            taken = stream.sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            taken = 0
        except OSError:
            self.close(stream)
            return
        stream.rest = data[taken:] if taken < len(data) else b""
        self.held_back += bool(stream.rest)

    def accept(self) -> None:
        while True:
            try:
                sock: Socket = self.listener.accept()[0]
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            stream = Stream(sock)
            self.selector.register(sock, selectors.EVENT_READ, reader(self, stream))

    def read(self, stream: Stream) -> None:
        try:
            if not stream.shaken and isinstance(stream.sock, ssl.SSLSocket):
                stream.sock.do_handshake()
                stream.shaken = True
            data = stream.sock.recv(RECEIVE_BYTES)
            while data:
                stream.received += data
                self.answer_if_whole(stream)
                data = stream.sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            pass
        self.close(stream)

    def close(self, stream: Stream) -> None:
        if stream.sock.fileno() < 0:
            return
        self.selector.unregister(stream.sock)
        stream.sock.close()
        self.gone += stream.place >= 0
        stream.place = -1
        stream.rest = b""

    def answer_if_whole(self, stream: Stream) -> None:
        """Answer the request that was received, once all of it is there."""
        head, separator, body = stream.received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not separator or len(body) < (int(length[1]) if length else 0):
            return
        stream.received = b""
        topic = TOPIC.search(body)
        if not head.startswith(b"POST /v1/messages ") or topic is None:
            self.send(stream, refusal())
            return
        self.calls += 1
        self.start(stream, topic[1], int(topic[2]))

    def start(self, stream: Stream, kind: bytes, number: int) -> None:
        stream.rest = b""
        opening = head_of_answer(self.calls) + self.script.opening
        if kind == b"warm":
            self.send(stream, opening + self.script.at_once)
            stream.place = len(self.script.deltas) if stream.rest else -1
        else:
            self.send(stream, opening + (self.script.deltas[0] if kind == b"held" else b""))
            stream.place = 0
        if kind == b"watched":
            stream.times = self.watched.setdefault(number, [])
        if kind != b"held" and stream.place >= 0:
            # The slot that had its turn last: it comes round in the time between two events.
            self.wheel[(self.turns - 1) % len(self.wheel)].append(stream)

    @property
    def report(self) -> dict[str, Any]:
        """What was done, for the parent."""
        late: Summary = summarise_counts(self.late, LATE_STEP)
        counts = {"calls": self.calls, "sent": self.sent, "held_back": self.held_back, "gone": self.gone}
        return {**counts, "late": late, "watched": self.watched}


def reader(stand_in: StandIn, stream: Stream) -> Callable[[], None]:
    return lambda: stand_in.read(stream)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head_of_answer(number: int) -> bytes:
    lines = [f"{name}: {value}" for name, value in wire.headers(f"req_bench_{number}", stream=True).items()]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "transfer-encoding: chunked", "\r\n"]).encode()


def refusal() -> bytes:
    """Answer what the benchmark never asks."""
    body = wire.encode_json(wire.error("not_found_error", "The stand-in of the benchmark only streams.", "req_none"))
    head = f"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def tls_context(certificate: str) -> ssl.SSLContext:
    """Make the context from a file that holds the certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def main() -> None:
    job = json.loads(sys.argv[1])
    context = tls_context(job["cert"]) if job["cert"] else None
    stand_in = StandIn(make_text(job["events"], job["characters"]), job["seconds"], context)
    sys.stdout.write(json.dumps({"url": stand_in.url}) + "\n")
    sys.stdout.flush()
    stand_in.serve_until_readable(sys.stdin)
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(stand_in.report) + "\n")


if __name__ == "__main__":
    main()
