"""What no client library would send."""

from __future__ import annotations

import json
import socket
from itertools import product

from .world import Client, fill

NAMES = [
    "..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c..", "%00", "a%00b", "%ff%fe", "%c0%ae", "x" * 255, "x" * 256, "x" * 5000, "%F0%9F%A6%80", "%0d%0ax:y",
    "%", "%zz", ";", "a%3fb", "a%23b", "+", "%20", "docs%2f..%2fdocs", "recover", "upload", "-1", "18446744073709551616", "1e3", "null", "{collection_name}",
]
PATHS = [
    ("GET", "/collections/{}"), ("PUT", "/collections/{}"), ("PATCH", "/collections/{}"), ("DELETE", "/collections/{}"), ("GET", "/collections/{}/exists"),
    ("GET", "/collections/docs/points/{}"), ("DELETE", "/collections/docs/index/{}"), ("PUT", "/collections/docs/vectors/{}"),
    ("GET", "/collections/docs/snapshots/{}"), ("DELETE", "/collections/docs/snapshots/{}"), ("POST", "/collections/{}/snapshots"),
    ("PUT", "/collections/{}/snapshots/recover"), ("POST", "/collections/{}/snapshots/upload"), ("GET", "/engram/v1/receipts/{}"),
    ("GET", "/engram/v1/stats?collection={}"), ("GET", "/engram/v1/receipts?limit={}"), ("POST", "/collections/docs/points/scroll?timeout={}"),
    ("PUT", "/collections/docs/points?wait={}"), ("POST", "/collections/docs/snapshots/upload?checksum={}"), ("GET", "/{}"), ("DELETE", "/cluster/peer/{}"),
]
BODIES = [
    b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"filter": "\xff"}', b"\xef\xbb\xbf{}", b"{" * 100_000, b"[" * 100_000, b'{"filter":{"must":' * 20_000, b'"' + b"x" * 100_000,
    b'{"limit": 1, "limit": 2}', b'{"limit": 1e400}', b'{"limit": -0}', b'{"query": [NaN, 1, 1]}', b'{"query": [1e400, 1, 1]}', b'{"with_payload": "\\ud800"}', b"{}{}", b"{} x",
    b'{"query": ' + b"9" * 100_000 + b"}", b"0" * 1_000_000,
]
ROUTES = [("POST", "/collections/docs/points/query"), ("PUT", "/collections/docs/points"), ("POST", "/collections/docs/points/scroll"), ("PUT", "/collections/new"), ("POST", "/collections/docs/points/batch"), ("POST", "/collections/docs/snapshots"), ("POST", "/engram/v1/flush")]
TYPES = ["application/json", "text/plain", "", "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "\xff"]


def over_socket(client: Client, data: bytes, patience: float = 10) -> None:
    """Sends bytes as they are and reads what comes."""
    host, port = client.address.split(":")
    with socket.create_connection((host, int(port)), timeout=patience) as peer:
        try:
            peer.sendall(data)
            answer = peer.recv(1_000)
        except (TimeoutError, ConnectionError):
            return
    if answer.startswith(b"HTTP/1."):
        client.note(int(answer.split(b" ")[1]), f"{data[:300]!r}: {answer[:300]!r}")


def run(client: Client) -> None:
    """Sends all."""
    fill(client)
    for (method, path), name in product(PATHS, NAMES):
        over_socket(client, f"{method} {path.format(name)} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}".encode())
    fill(client)
    for (method, path), body in product(ROUTES, BODIES):
        client.send(method, path, body)
    for (method, path), kind in product(ROUTES + [("POST", "/collections/new/snapshots/upload")], TYPES):
        for body in (b"", b"{}", b"--x\r\n\r\n", b'--x\r\ncontent-disposition: form-data; name="snapshot"\r\n\r\nbytes\r\n--x--\r\n'):
            client.send(method, path, body, {"content-type": kind})
    for encoding in ("gzip", "zstd", "br", "deflate", "gzip, gzip", "x" * 500):
        client.send("POST", "/collections/docs/points/scroll", b"not packed", {"content-encoding": encoding})
    for header in ("engram-token", "idempotency-key", "x-request-id", "engram-tenant", "api-key", "authorization", "accept-encoding"):
        for value in ("", "x", "x" * 8_000, "1:docs.0=99999999999999999999999", "\xff", "default", "Bearer x"):
            client.send("PUT", "/collections/docs/points", {"points": []}, {header: value})
            client.send("POST", "/collections/docs/points/scroll", {}, {header: value})
    large = json.dumps({"points": [{"id": 1, "vector": [1, 2, 3], "payload": {"x": "x" * (40 << 20)}}]}).encode()
    client.send("PUT", "/collections/docs/points", large)
    head = b"POST /collections/docs/points/scroll HTTP/1.1\r\nhost: localhost\r\n"
    for rest in (
        b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", b"transfer-encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
        b"content-length: 99999999999999999999\r\n\r\n{}", b"content-length: -1\r\n\r\n{}", b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", b"content-length: 18446744073709551615\r\n\r\n{}",
        b"content-length: 10\r\n\r\n{}", b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"x: " + b"y" * 100_000 + b"\r\n\r\n", b"\x00\r\n\r\n", b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n",
    ):
        over_socket(client, head + rest, 1)
    for line in (b"GET", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100, b"GET http://other/ HTTP/1.1\r\nhost: localhost\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nhost: localhost\r\n\r\n"):
        over_socket(client, line, 1)
