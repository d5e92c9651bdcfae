"""A client for Longhand's API, for programs on asyncio and on Trio alike: `async with Client(url, token) as client`.

It imports nothing of the server.
"""

from app.client.api import Client
from app.client.errors import ClientError, Fault, LonghandProblem, NotLonghand, Unreachable
from app.client.events import DeletedEvent, DoneEvent, Event, ListEvent, Outage, StatusEvent, TextEvent, TopicEvent
from app.client.nouns import Accepted, Artifact, Status, Topic, Usage
from app.client.watch import Watch

__all__ = [
    "Accepted", "Artifact", "Client", "ClientError", "DeletedEvent", "DoneEvent", "Event", "Fault", "ListEvent",
    "LonghandProblem", "NotLonghand", "Outage", "Status", "StatusEvent", "TextEvent", "Topic", "TopicEvent",
    "Unreachable", "Usage", "Watch",
]  # fmt: skip
