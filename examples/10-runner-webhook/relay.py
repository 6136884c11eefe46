"""Follow what happens at the proxy and post each event, signed, to an app. Every event is delivered at least once."""

import json
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
from standardwebhooks import Webhook

FEED = "http://127.0.0.1:7411/v1/interruptions/events"
APP = "http://127.0.0.1:7412/webhook"
webhook = Webhook(Path("webhook-secret").read_text().strip())
LAST = Path("relay.last")


def main() -> None:
    while True:
        last = LAST.read_text() if LAST.exists() else "0"
        try:
            with httpx2.stream("GET", FEED, headers={"Last-Event-ID": last}, timeout=60) as feed:
                feed.raise_for_status()
                for sequence, record in events(feed.iter_lines()):
                    post(sequence, record)
                    LAST.write_text(sequence)
        except httpx2.HTTPError as problem:
            print("trying again:", problem, flush=True)
            time.sleep(1)


def events(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    kind = sequence = ""
    for line in lines:
        word, _, rest = line.partition(": ")
        if word == "event":
            kind = rest
        elif word == "id":
            sequence = rest
        elif word == "data" and kind == "interruption":
            yield sequence, rest


def post(sequence: str, record: str) -> None:
    now = datetime.now(UTC)
    said = {"type": "interruption", "timestamp": now.isoformat(), "data": json.loads(record)}
    body, name = json.dumps(said), f"event-{sequence}"
    headers = {
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(name, now, body),
    }
    httpx2.post(APP, content=body, headers=headers).raise_for_status()


main()
