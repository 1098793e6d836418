#!/usr/bin/env python3
"""Compares Parquet segments with what the API said about the same points.

usage: parquet.py EXPECTED.json SEGMENT.parquet...

EXPECTED.json is written by tests/tests/interop.rs: {"count": n, "points": [{"id", "vector", "payload", "version",
"created_at_ms"}]}. The segments are opened with pyarrow and with DuckDB; ids, vectors, payloads, versions, times and
the count have to be the same.
"""

import json
import struct
import sys


def fail(message):
    print(f"FAILED: {message}")
    sys.exit(1)


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def millis(value):
    return value if isinstance(value, int) else round(value.timestamp() * 1000)


def compare(name, rows, expected):
    if len(rows) != expected["count"]:
        fail(f"{name}: {len(rows)} rows, the API counts {expected['count']}")
    by_id = {str(row["id"]): row for row in rows}
    if len(by_id) != len(rows):
        fail(f"{name}: an id appears twice")
    for point in expected["points"]:
        row = by_id.get(point["id"])
        if row is None:
            fail(f"{name}: id {point['id']} is missing")
        vector = row["vector"]
        got = None if vector is None else [f32(x) for x in vector]
        want = None if point["vector"] is None else [f32(x) for x in point["vector"]]
        if got != want:
            fail(f"{name}: vector of {point['id']} is {got}, the API says {want}")
        payload = json.loads(row["payload"])
        # Declared fields have columns of their own; the text column holds the rest or all of it.
        for key, value in payload.items():
            if point["payload"].get(key) != value:
                fail(f"{name}: payload of {point['id']} has {key} = {value}, the API says {point['payload'].get(key)}")
        for key, value in point["payload"].items():
            if key not in payload and not any(key in column for column in row):
                fail(f"{name}: payload of {point['id']} lacks {key}")
        if row["version"] != point["version"]:
            fail(f"{name}: version of {point['id']} is {row['version']}, the API says {point['version']}")
        if millis(row["created_at"]) != point["created_at_ms"]:
            fail(f"{name}: {point['id']} was created at {row['created_at']}, the API says {point['created_at_ms']}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        expected = json.load(file)
    files = sys.argv[2:]

    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(path) for path in files]
    rows = [row for table in tables for row in table.to_pylist()]
    compare("pyarrow", rows, expected)
    print(f"pyarrow {pa.__version__}: {len(rows)} rows of {len(files)} segments agree; columns {tables[0].schema.names}")

    import duckdb

    connection = duckdb.connect()
    # Times as milliseconds: DuckDB needs a further Python package to hand out a time with a zone.
    columns = "* EXCLUDE (ingested_at, expires_at) REPLACE (epoch_ms(created_at) AS created_at)"
    relation = connection.execute(f"SELECT {columns} FROM read_parquet(?)", [files])
    names = [column[0] for column in relation.description]
    rows = [dict(zip(names, row)) for row in relation.fetchall()]
    compare("duckdb", rows, expected)
    (count,) = connection.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchone()
    if count != expected["count"]:
        fail(f"duckdb counts {count}, the API {expected['count']}")
    print(f"duckdb {duckdb.__version__}: {count} rows agree")


if __name__ == "__main__":
    main()
