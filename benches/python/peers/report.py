"""What a run says: a table, JSON objects and a picture."""

import math
import platform
import statistics

RECALLS = {"qps90": 0.90, "qps95": 0.95, "qps99": 0.99}


def front(points):
    """Points that no other point beats in recall and in speed, by rising recall."""
    kept, fastest = [], 0.0
    for point in sorted(points, key=lambda p: (-p["recall"], -p["qps"])):
        if point["qps"] > fastest:
            kept.append(point)
            fastest = point["qps"]
    return kept[::-1]


def at_recall(points, recall, key="qps"):
    """A value at a recall, from the two points around it: linear in recall, QPS by its logarithm.

    None where the recall is not reached. Where even the smallest ef is above it, the value of that point: none faster
    was seen.
    """
    curve = front(points)
    if not curve or curve[-1]["recall"] < recall:
        return None
    if curve[0]["recall"] >= recall:
        return curve[0][key]
    low, high = next((a, b) for a, b in zip(curve, curve[1:]) if a["recall"] <= recall <= b["recall"])
    if low[key] is None or high[key] is None:
        return None
    share = (recall - low["recall"]) / (high["recall"] - low["recall"])
    if key == "qps":
        return math.exp(math.log(low[key]) * (1 - share) + math.log(high[key]) * share)
    return low[key] * (1 - share) + high[key] * share


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{model}, Linux {platform.release()}"


def result(name, facts, built, points, probes, waits, load):
    """The JSON object of a row."""
    row = {"lib": name, **facts, "version": built.get("version")}
    row |= {key: built.get(key) for key in ("build_s", "build_cpu_s", "mem_mb", "mapped_mb")}
    row |= {key: at_recall(points, recall) for key, recall in RECALLS.items()}
    row |= {f"{key}95": at_recall(points, 0.95, key) for key in ("distances", "hops", "bytes")}
    row["points"] = points
    row["probe"] = {key: statistics.median(probe[key] for probe in probes) for key in probes[0]}
    row["waited"] = round(statistics.median(waits), 4)
    row["per_query_call"] = bool(built.get("per_query_call", False))
    row["note"] = built.get("note") or ""
    return row | {"machine": machine(), "load_average": load}


def number(value, form="{:,.0f}"):
    return "-" if value is None else form.format(value)


def table(facts, results, rounds):
    rows = sorted((r for r in results if "missing" not in r), key=lambda r: -(r["qps95"] or 0))
    if rows:
        first = rows[0]
        print(f"{facts['data']}: {facts['n']:,} x {facts['d']}, {facts['queries']:,} queries, {facts['metric']}")
        before, after = first["load_average"]
        print(f"{first['machine']}; load average {before} before, {after} after")
        print(f"QPS of one thread at recall@10, medians of {rounds} rounds in turns; - : not reached, not counted\n")
        head = ["", "0.90", "0.95", "0.99", "build s", "cpu s", "MB", "mapped", "dist.", "KB"]
        head += ["ns 128M", "ns 1G", "GB/s", "wait %"]
        lines = [head]
        for r in rows:
            star = "*" if r["per_query_call"] else ""
            kilobytes = None if r["bytes95"] is None else r["bytes95"] / 1e3
            lines.append([
                r["lib"] + star, number(r["qps90"]), number(r["qps95"]), number(r["qps99"]),
                number(r["build_s"], "{:.1f}"), number(r["build_cpu_s"], "{:.1f}"),
                number(r["mem_mb"]), number(r["mapped_mb"]), number(r["distances95"]), number(kilobytes),
                number(r["probe"]["ns_128mib"]), number(r["probe"]["ns_1gib"]),
                number(r["probe"]["gb_s"], "{:.1f}"), number(100 * r["waited"]),
            ])
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        for line in lines:
            print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))))
        print("\ncpu s: processor time of the build with what surrounds it (imports, reading)")
        print("dist., KB: distances and bytes of a query at recall 0.95; ns, GB/s: the probe right before each sweep")
        print("wait %: of the time of its sweeps that others had the core; above a few, the figures are theirs too")
        if any(r["per_query_call"] for r in rows):
            print("* called query by query from Python: the call is part of the time")
    missing = [r for r in results if "missing" in r]
    if missing:
        print("\nmissing")
        for r in missing:
            print(f"  {r['lib']:<16} {r['missing']}")


def plot(file, results):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter

    rows = sorted((r for r in results if "missing" not in r), key=lambda r: -(r["qps95"] or 0))
    ours = [r for r in rows if r["lib"].startswith("engram")]
    best = [r for r in rows if r not in ours and r["lib"] != "hnsw_rs"][:3]
    figure, axes = plt.subplots(figsize=(11, 7))
    strong = dict(zip((r["lib"] for r in ours), ["#c1121f", "#f77f00"]))
    peers = dict(zip((r["lib"] for r in best), ["#003f88", "#2a9d8f", "#7b2cbf"]))
    styles, colours = ["-", "--", "-.", ":"], plt.get_cmap("tab20").colors
    for at, r in enumerate(rows):
        curve = [p for p in front(r["points"]) if p["recall"] >= 0.8]
        if not curve:
            continue
        speed = number(r["qps95"])
        look = {"color": colours[at % 20], "linestyle": styles[at % 4], "linewidth": 1.2, "alpha": 0.7}
        if r["lib"] in strong:
            look = {"color": strong[r["lib"]], "linewidth": 3.0, "marker": "o", "markersize": 6, "zorder": 5}
        elif r["lib"] in peers:
            look = {"color": peers[r["lib"]], "linewidth": 2.0, "marker": "s", "markersize": 5, "zorder": 4}
        axes.plot([p["recall"] for p in curve], [p["qps"] for p in curve], label=f"{r['lib']}  {speed}", **look)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlim(0.8, 1.0)
    axes.set_xlabel("recall@10")
    axes.set_ylabel("queries a second, one thread")
    axes.grid(True, which="both", color="0.92")
    if rows:
        r = rows[0]
        axes.set_title(f"{r['data']}: {r['n']:,} x {r['d']}, {r['metric']}")
        axes.legend(title="QPS at 0.95", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    figure.savefig(file, dpi=130, bbox_inches="tight")
