"""Put every parked call before a person, and carry the answer back. To make it a chat bot, replace `ask`."""

import json
import os
from collections.abc import Iterable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

URL, TOKEN = os.environ.get("HOLDSHORT_URL", "http://127.0.0.1:7411"), os.environ["HOLDSHORT_APPROVER_TOKEN"]


def http(path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    return urlopen(Request(URL + path, json.dumps(body).encode() if body else None, headers))  # noqa: S310


def ask(record: dict[str, Any]) -> str:
    who = record["requested_by"]["agent"]
    print(f"{who} wants {record['server']}.{record['tool']} with {json.dumps(record['arguments'])}")
    return input("yes, or a reason against it: ")


def decide(record: dict[str, Any]) -> None:
    answer = ask(record)
    decision = {"decision": "approve"} if answer == "yes" else {"decision": "reject", "message": answer}
    try:
        # With the fingerprint of what was shown: a call that was edited meanwhile is not what was answered.
        http(f"/v1/interruptions/{record['id']}/decision", decision | {"fingerprint": record["fingerprint"]})
    except HTTPError as problem:
        print(json.load(problem)["error"]["message"])  # somebody was faster, or time was up


def records(stream: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    yield from json.load(http("/v1/interruptions?state=pending"))["interruptions"]
    event = b""
    for line in stream:
        word, _, rest = line.strip().partition(b": ")
        if word == b"event":
            event = rest
        elif word == b"data" and event == b"interruption":
            yield json.loads(rest)


seen: set[str] = set()
# Followed before the list is read, so that nothing falls between the two.
for each in records(http("/v1/interruptions/events")):
    if each["state"] == "pending" and each["id"] not in seen:
        seen.add(each["id"])
        decide(each)
