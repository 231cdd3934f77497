r"""The server against requests that no client should send: no 5xx, no hang, no undocumented answer.

    .venv/bin/python benchmarks/fuzz_server.py [--cases 10000] [--bodies 10000] [--seed 42]

`assay serve` runs in a process of its own with a random tiny model, bodies up to 50,000 bytes and a
monitor's log.

- cases: schemathesis reads /openapi.json and asks every route what its schema allows and what it
  does not: examples, boundary values, then cases drawn at random, until there are so many. Checked
  are 5xx, and that the status, the media type, the answer's JSON, and what is said of other methods
  are those of the description.
- bodies: so many requests at the paths of all protocols (`fuzzed_requests.py`): wild and deeply
  nested values, huge numbers, NaN, lone surrogates, bytes that are no UTF-8, fields given twice,
  other media types and methods, broken chunks and lengths, clients that hang up. Each has to be
  answered within 60 seconds with a status below 500, and in JSON.
- stalls: meanwhile one connection a path never sends the second half of its body. Each has to get
  408 within 90 seconds.

A request is scored before and after all this: the server has to live, and its reward to be the same
to 1e-5. What was found is printed with the smallest line that asks for it again, and is exit code
1. Figures go to benchmarks/results/fuzz_server.json. Takes 5 to 10 minutes on 2 idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import hypothesis
from fuzzed_requests import PATHS, Sent, fault, requests, send
from result_file import RESULTS, write_result
from serve_load import metric, server, tiny_model
from tables import commit

from assay.process import settle

SECONDS, STALL_SECONDS = 60.0, 90.0
SAME = 1e-5
MAX_BODY_BYTES = 50_000
EXAMPLES = 120
"""That are drawn for a route in a turn: drawing more at once gets slower and slower."""
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "unsupported_method", "allow_header_conformance"),
)
OWN_PACKAGES = ("schemathesis", "hypothesis", "fastapi", "starlette", "uvicorn", "h11")
FIXED = {"prompt": "Name a river.", "responses": ["The Elbe.", "Stone."]}
Counts = Counter[tuple[str, str]]
"""Of answers, by method and path, and status."""


def main() -> int:
    arguments = parsed()
    settle()
    warnings.filterwarnings("ignore", message="Generating overly large repr")
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        model = tiny_model(Path(scratch))
        log = Path(scratch) / "monitor.jsonl"
        options = ("--max-body-bytes", MAX_BODY_BYTES, "--monitor-log", log)
        with server(model, 1, *options) as served:
            url = served.url
            before = rewards(url)
            memory = [metric(url, "process_resident_memory_bytes") / 2**20]
            stalled, began = stalls(url), time.monotonic()
            by_schema = schema_cases(url, arguments.cases, arguments.seed, Path(scratch), faults)
            schema_seconds = time.monotonic() - began
            show("cases of the schema", by_schema)
            bodies = fuzzed_bodies(url, arguments.bodies, arguments.seed, faults)
            body_seconds = time.monotonic() - began - schema_seconds
            show("fuzzed bodies", bodies)
            statuses = stalled_statuses(stalled, began, faults)
            after = rewards(url)
            memory.append(metric(url, "process_resident_memory_bytes") / 2**20)
    if any(abs(one - other) > SAME for one, other in zip(before, after, strict=True)):
        faults.append(f"rewards {after}, which were {before} before")
    print(f"memory of the server: {memory[0]:.0f} MiB before, {memory[1]:.0f} MiB after")
    print(*faults, sep="\n\n")
    figures = {
        "commit": commit(),
        "schema": {"cases": by_schema.total(), "seconds": schema_seconds, **nested(by_schema)},
        "bodies": {"requests": bodies.total(), "seconds": body_seconds, **nested(bodies)},
        "stalls": statuses,
        "server_memory_mib": [round(value, 1) for value in memory],
        "faults": faults,
    }
    write_result(RESULTS / "fuzz_server.json", figures, OWN_PACKAGES)
    return 1 if faults else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args()


def rewards(url: str) -> list[float]:
    answer = httpx.post(f"{url}/v1/reward", json=FIXED, timeout=SECONDS)
    found: list[float] = answer.raise_for_status().json()["rewards"]
    return found


# What the description allows, and what it does not


def schema_cases(url: str, cases: int, seed: int, scratch: Path, faults: list[str]) -> Counts:
    """Ask for at least so many cases; each turn has another seed."""
    found: Counts = Counter()
    for turn in count():
        before = found.total()
        if before >= cases:
            break
        report = scratch / f"cases-{turn}.ndjson"
        phases = "fuzzing" if turn else "examples,coverage,fuzzing"
        run = schemathesis(url, phases, seed + turn, report)
        found += counted(report)
        print(f"{found.total()} cases of the schema", flush=True)
        if run.returncode:
            faults.append(run.stdout + run.stderr)
            break
        if found.total() == before:
            faults.append(f"schemathesis drew {before} cases of {cases}")
            break
    return found


def schemathesis(
    url: str, phases: str, seed: int, report: Path
) -> subprocess.CompletedProcess[str]:
    """Its own command, with a report of every case."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += ["--phases", phases, "--checks", ",".join(CHECKS)]
    command += ["--max-examples", str(EXAMPLES), "--seed", str(seed), "--no-color"]
    command += ["--request-timeout", str(SECONDS), "--continue-on-failure"]
    command += ["--generation-database", "none", "--warnings", "off"]
    command += ["--report", "ndjson", "--report-ndjson-path", str(report)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=report.parent)


def counted(report: Path) -> Counts:
    """Cases that were answered, in a report."""
    found: Counts = Counter()
    with report.open(encoding="utf-8") as lines:
        for line in lines:
            ended = json.loads(line).get("ScenarioFinished", {})
            recorded = ended.get("recorder", {})
            for one in recorded.get("interactions", {}).values():
                status = (one.get("response") or {}).get("status_code", "no answer")
                found[recorded["label"], str(status)] += 1
    return found


# What no description allows


def fuzzed_bodies(url: str, number: int, seed: int, faults: list[str]) -> Counts:
    """Send so many requests, as many to each path; a path ends with its first fault, shrunk."""
    found: Counts = Counter()
    for path in PATHS:
        try:
            _fuzz(url, path, -(-number // len(PATHS)), seed, found)
        except Exception as error:  # Whatever it is, hypothesis has made it small.
            faults.append(str(error))
    return found


def _fuzz(url: str, path: str, number: int, seed: int, found: Counts) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=number,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=False,
    )
    @hypothesis.given(requests(path))
    def ask(sent: Sent) -> None:
        try:
            answer = send(url, sent, SECONDS)
        except TimeoutError:
            raise AssertionError(
                f"no answer within {SECONDS:g} seconds\n{sent.shell(url)}"
            ) from None
        found[f"{sent.method} {path}", str(answer.status or "closed")] += 1
        flaw = fault(sent, answer)
        assert flaw is None, f"{flaw}\n{sent.shell(url)}"

    ask()


def stalls(url: str) -> dict[str, socket.socket]:
    """A connection a path, in the middle of its body."""
    place = urlsplit(url)
    found = {}
    for path in PATHS:
        found[path] = socket.create_connection((place.hostname, place.port), SECONDS)
        head = f'POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{"prompt": '
        found[path].sendall(head.encode())
    return found


def stalled_statuses(
    stalled: dict[str, socket.socket], began: float, faults: list[str]
) -> dict[str, str]:
    found = {}
    for path, connection in stalled.items():
        with connection:
            connection.settimeout(max(began + STALL_SECONDS - time.monotonic(), 1))
            try:
                line = connection.recv(100).decode("latin-1")
            except TimeoutError:
                line = ""
        found[path] = line[9:12] or "no answer"
        if found[path] != "408":
            faults.append(f"{path}: {found[path]} to a body that stalls")
    return found


# What is shown


def nested(counts: Counts) -> dict[str, Any]:
    return {"statuses": {route: dict(sorted(each)) for route, each in _by_route(counts)}}


def _by_route(counts: Counts) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    for route in sorted({route for route, _ in counts}, key=lambda one: one.split()[::-1]):
        yield route, sorted((status, n) for (where, status), n in counts.items() if where == route)


def show(title: str, counts: Counts) -> None:
    print(f"{title}: {counts.total()}")
    for route, each in _by_route(counts):
        print(f"  {route:28}", "  ".join(f"{status}: {n}" for status, n in each))
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
