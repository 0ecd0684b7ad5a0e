"""``report.html``: the report as one page that needs nothing else, no network and no script.

Every number on it is an element with ``data-key``, the path of that number in ``report.json``, and ``data-value``, the
number itself; what is read is the same rounded to three digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from importlib import resources
from typing import Any

from edge_runtime.events import DROP_REASONS
from edge_runtime.pipeline.budgets import WHOLE
from edge_runtime.report import svg

STAGE_MEANS = {
    "capture": "from the frame's timestamp until the network takes it: decoding, and with a live source waiting",
    "preprocess": "resize and colour order",
    "imfe.encoder": "one frame to its feature map",
    "imfe.motion": "two feature maps to their motion",
    "imfe.appearance": "the clip's central frame to what it looks like, once a hop",
    "imfe.head": "the clip's motion to features, once a hop; with a clip model, which does not stream, all of it",
    "rtstgcn": "graph network: one step, once a hop",
    "lstr": "LSTR: one step, once a hop",
    "sinks": "a result waiting for, and in, its outputs",
    WHOLE: "from the timestamp of a result's last frame until the result is known",
}
METRIC_MEANS = {
    "p50, p90, p95, p99, p99.9": "that many percent of all passes took no longer. Nearest rank, from a histogram whose "
    "error is below 0.8 %; p99.9 needs 1,000 passes and is left empty below.",
    "mean, max": "average and slowest pass; exact.",
    "n": "passes measured.",
    "budget, misses, longest run": "what the stage may take, how many passes took longer, and how many of those came "
    "one after another.",
    "captured = processed + dropped": "every frame is in exactly one of these, and the run fails if they do not add "
    "up. Dropped are, by reason, " + "; ".join(f"{reason}: {why}" for reason, why in DROP_REASONS.items()) + ".",
    "jitter": "how far the time between two results is from its period.",
    "RSS slope": "growth of the process's memory over the second half of the run; a leak if it stays above zero.",
    "other programs": "share of all cores taken by others while this ran, stolen time of a virtual machine included.",
    "VALID": "enough samples, long enough, nothing else running, no throttling, steady. It does not mean fast.",
}

_COLUMNS = {
    "n": "n",
    "mean": "mean_ms",
    "p50": "p50_ms",
    "p90": "p90_ms",
    "p95": "p95_ms",
    "p99": "p99_ms",
    "p99.9": "p999_ms",
    "max": "max_ms",
    "budget": "budget_ms",
    "misses": "misses",
    "longest run": "longest_miss_run",
}


def page(report: dict[str, Any]) -> str:
    """The whole page for a report as ``report.build`` makes it."""
    title = _title(report)
    sections = (_head, _verdict, _figures, _stages, _timeline, _worst, _speed, _device, _about, _meanings)
    body = "\n".join(section(report) for section in sections)
    css = resources.files("edge_runtime.report").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>\n{css}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _title(report: dict[str, Any]) -> str:
    what = "Benchmark" if report["kind"] == "bench" else "Run"
    return f"{what} of {' + '.join(_model_names(report)) or 'no model'}"


def _model_names(report: dict[str, Any]) -> list[str]:
    models = report["run"]["models"]
    return [str(model.get("name", role)) if isinstance(model, dict) else str(model) for role, model in models.items()]


# ---- numbers


def _value(report: dict[str, Any], key: str, unit: str = "", style: str = "") -> str:
    """The number at ``key`` (``stages/imfe.head/p99_ms``), marked so that it can be checked against the JSON."""
    value: Any = report
    for step in key.split("/"):
        value = None if value is None else value[int(step)] if isinstance(value, list) else value.get(step)
    if value is None:
        return '<span class="quiet">–</span>'
    unit = f"&nbsp;{escape(unit)}" if unit else ""
    css = f' class="{style}"' if style else ""
    return f'<span{css} data-key="{escape(key)}" data-value="{value!r}">{svg.number(float(value))}</span>{unit}'


def _card(title: str, *content: str, note: str = "", style: str = "") -> str:
    said = f'<p class="quiet">{note}</p>' if note else ""
    return f'<div class="card {style}"><h3>{title}</h3>{said}{"".join(content)}</div>'


def _key(*entries: tuple[str, str]) -> str:
    return '<p class="key">' + "".join(f'<i class="{kind}"></i>{escape(text)}' for kind, text in entries) + "</p>"


# ---- sections, top to bottom


def _head(report: dict[str, Any]) -> str:
    run = report["run"]
    every = "every frame" if run["hop"] == 1 else f"every {run['hop']} frames"
    return (
        f"<h1>{escape(_title(report))}</h1>"
        f'<p class="quiet">{escape(run["source"])} · {escape(report["created"])} · policy {escape(run["policy"])} · '
        f"a result {every} at {svg.number(run['fps'])} FPS</p>"
    )


def _verdict(report: dict[str, Any]) -> str:
    verdict = report["verdict"]
    validity = _opinion(
        verdict["valid"], "VALID: these figures can be relied on", "NOT VALID as a measurement", verdict["reasons"]
    )
    budgets = _opinion(
        verdict["budgets_kept"],
        "Every stage's p99 is within its budget",
        "Budgets missed at p99",
        verdict["budgets_missed"],
    )
    return validity + budgets


def _opinion(good: bool, praise: str, blame: str, reasons: Iterable[str]) -> str:
    if good:
        return f'<div class="card verdict"><b class="good">{escape(praise)}</b></div>'
    items = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return f'<div class="card verdict bad"><b>{escape(blame)}</b><ul>{items}</ul></div>'


def _figures(report: dict[str, Any]) -> str:
    whole = f"stages/{WHOLE}"
    dropped = report["frames"]["dropped"]
    losses = ", ".join(f"{escape(reason)} {_value(report, f'frames/dropped/{reason}')}" for reason in dropped)
    cells = [
        ("Capture to result, median", _value(report, f"{whole}/p50_ms", "ms"), ""),
        (
            "99th percentile",
            _value(report, f"{whole}/p99_ms", "ms"),
            f"budget {_value(report, f'{whole}/budget_ms', 'ms')}",
        ),
        (
            "Results late",
            _value(report, f"{whole}/misses"),
            f"of {_value(report, f'{whole}/n')}, at most {_value(report, f'{whole}/longest_miss_run')} in a row",
        ),
        ("Frames captured", _value(report, "frames/captured"), f"in {_value(report, 'run/duration_s', 's')}"),
        ("Frames processed", _value(report, "frames/processed"), ""),
        ("Frames dropped", svg.number(sum(dropped.values())), losses),
        ("Memory, maximum", _value(report, "device/rss_mb/max", "MB"), ""),
        ("Jitter, p99", _value(report, "jitter/p99_ms", "ms"), ""),
    ]
    drawn = "".join(
        f'<div class="card"><span class="quiet">{name}</span><b>{value}</b><span class="quiet">{note}</span></div>'
        for name, value, note in cells
    )
    return f'<div class="figures">{drawn}</div>'


def _stages(report: dict[str, Any]) -> str:
    plots = "".join(_distribution(report, name) for name in report["stages"])
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = []
    for stage, figures in report["stages"].items():
        late = figures["p99_ms"] > figures["budget_ms"]
        cells = "".join(
            f'<td class="{"bad" if late and column == "p99_ms" else ""}">'
            f"{_value(report, f'stages/{stage}/{column}')}</td>"
            for column in _COLUMNS.values()
        )
        rows.append(f"<tr><td>{escape(stage)}</td>{cells}</tr>")
    return (
        "<h2>Latency of every stage</h2><p>How long each pass took, and the budget it had. Milliseconds.</p>"
        f'<div class="grid">{plots}</div>'
        f'<div class="card scroll" style="margin-top:.75rem"><table><thead><tr><th>stage</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _distribution(report: dict[str, Any], stage: str) -> str:
    figures = report["stages"][stage]
    budget, buckets = figures["budget_ms"], figures["histogram"]
    low = max(min(buckets[0][0], budget) * 0.9, 1e-4)
    scale = svg.Log(low, max(buckets[-1][1], budget) * 1.1)
    columns = _rebin(buckets, scale)
    most = max(count for _, _, count in columns)
    boxes = [(left, right, count / most * 0.96) for left, right, count in columns]
    titles = [f"{count / figures['n']:.1%} of {figures['n']} passes" for _, _, count in columns]
    shapes = [svg.bars(boxes, "data", titles), svg.upright(scale(budget), "budget", f"budget {budget:g} ms")]
    top = [(0.0, "0"), (0.96, f"{most / figures['n']:.0%}")]
    percentiles = f"p50 {_value(report, f'stages/{stage}/p50_ms')} · p99 {_value(report, f'stages/{stage}/p99_ms')}"
    budgeted = f"budget {_value(report, f'stages/{stage}/budget_ms', 'ms')}"
    plot = svg.plot(f"distribution of {stage}, ms", shapes, scale.ticks(), top)
    note = escape(STAGE_MEANS.get(stage, ""))
    return _card(escape(stage), f'<p class="quiet">{percentiles} · {budgeted}</p>', plot, note=note)


def _rebin(
    buckets: list[list[float]], scale: Callable[[float], float], columns: int = 72
) -> list[tuple[float, float, float]]:
    """The histogram's buckets in columns that can be seen: ``(left, right, passes)``, fractions of the width.

    A bucket that spans two columns is shared out between them; given whole to one, neighbours would swing.
    """
    counts: dict[int, float] = {}
    for lower, upper, count in buckets:
        left, right = (max(scale(max(edge, 1e-6)), 0.0) * columns for edge in (lower, upper))
        for column in range(int(left), min(int(right), columns - 1) + 1):
            share = (min(column + 1, right) - max(column, left)) / (right - left) if right > left else 1.0
            counts[column] = counts.get(column, 0.0) + count * share
    return [(column / columns, (column + 0.9) / columns, count) for column, count in sorted(counts.items())]


def _timeline(report: dict[str, Any]) -> str:
    bins, width = report["timeline"]["bins"], report["timeline"]["bin_s"]
    if not any(one["results"] for one in bins):
        return "<h2>Over time</h2><p>No result was given.</p>"
    budget = report["stages"][WHOLE]["budget_ms"]
    end = len(bins) * width
    time = svg.Linear(0, end)
    known = [one for one in bins if one["results"]]
    ages = svg.Linear(0, max([budget, *(one["max_ms"] for one in known)]) * 1.1)
    worst = [(time(one["t_s"]), time(one["t_s"] + 0.9 * width), ages(one["max_ms"])) for one in known]
    titles = [f"{one['t_s']:.1f} s: worst {one['max_ms']:.1f} ms of {one['results']}" for one in known]
    shapes = [
        svg.bars(worst, "pale", titles),
        svg.line([(time(one["t_s"] + width / 2), ages(one["mean_ms"])) for one in known], "data"),
        svg.across(ages(budget), "budget"),
    ]
    for fault in report["faults"]:
        shapes.append(svg.upright(time(min(fault["t_s"], end)), "mark", _fault_text(fault)))
    main = svg.plot("capture to result over time, ms", shapes, time.ticks(6), ages.ticks(), "14rem")
    keys = [("pale", "worst result"), ("data", "mean"), ("budget", "budget")]
    if report["faults"]:
        keys.append(("mark", "fault or change of level"))
    cards = [_card("Capture to result, ms, by second of the run", main, _key(*keys)), _rates(bins, width, time)]
    faults = _faults(report)
    return f'<h2>Over time</h2><div class="grid" style="grid-template-columns:1fr">{"".join(cards)}{faults}</div>'


def _rates(bins: list[dict[str, Any]], width: float, time: svg.Linear) -> str:
    """Results and losses, each on its own scale: at overload there are twenty times as many of the one as of the other.

    Drops are noticed with the next event, a few times a second: both are drawn over four bins.
    """
    groups = [bins[i : i + 4] for i in range(0, len(bins), 4)]
    spans = [(group[0]["t_s"], len(group) * width) for group in groups]
    results = [sum(one["results"] for one in group) for group in groups]
    lost = [sum(n for one in group for reason, n in one["dropped"].items() if reason != "rate") for group in groups]
    drawn = [("Results a second", results, "data")]
    if any(lost):
        drawn.append(("Frames dropped a second (those that the rate does not need left out)", lost, "bad"))
    cards = []
    for title, counts, kind in drawn:
        rates = [count / seconds for count, (_, seconds) in zip(counts, spans, strict=True)]
        most = svg.Linear(0, max(1.0, *rates) * 1.1)
        boxes = [(time(t), time(t + 0.9 * s), most(rate)) for (t, s), rate in zip(spans, rates, strict=True) if rate]
        cards.append(_card(title, svg.plot(title, [svg.bars(boxes, kind)], time.ticks(6), most.ticks(3), "6rem")))
    return "".join(cards)


def _fault_text(fault: dict[str, Any]) -> str:
    detail = fault["detail"]
    told = detail.get("reason") or ", ".join(f"{name} {value}" for name, value in detail.items())
    after = detail.get("after")
    dropping = ", dropping the oldest frame" if after and after["waiting"] == 1 else ""
    now = f"; now a result every {after['hop']} frames, {after['model']} model{dropping}" if after else ""
    return f"{fault['t_s']:.1f} s {fault['kind']}: {told}{now}"


def _faults(report: dict[str, Any]) -> str:
    if not report["faults"]:
        return ""
    shown = "".join(f"<li>{escape(_fault_text(fault))}</li>" for fault in report["faults"][:20])
    rest = len(report["faults"]) - 20 + report["faults_left_out"]
    more = f'<p class="quiet">and {rest} more</p>' if rest > 0 else ""
    return _card("Faults and changes of level", f"<ul>{shown}</ul>{more}")


def _worst(report: dict[str, Any]) -> str:
    if not report["worst"]:
        return ""
    worst = report["worst"][0]
    whole, parts = worst["capture_to_result_ms"], dict(worst["stages_ms"])
    before = {stage: ms for stage, ms in parts.items() if stage != "sinks"}  # a result is known before it is delivered
    rest = max(whole - sum(before.values()), 0.0)
    rows, at = [], 0.0
    for stage, ms in before.items():
        rows.append(_step(escape(stage), at / whole, ms / whole, _value(report, f"worst/0/stages_ms/{stage}", "ms")))
        at += ms
    rows.append(_step("between stages", at / whole, rest / whole, f"{svg.number(rest)}&nbsp;ms", "pale"))
    total = _value(report, "worst/0/capture_to_result_ms", "ms")
    return (
        f"<h2>The slowest result</h2><p>Where the {total} of frame {worst['frame']} went.</p>"
        f'<div class="card"><div class="waterfall">{"".join(rows)}</div></div>'
    )


def _step(name: str, left: float, width: float, text: str, kind: str = "") -> str:
    left = min(left, 1.0)
    place = f"left:{left:.2%};width:{min(width, 1 - left):.2%}"
    return f'<span>{name}</span><div><i class="{kind}" style="{place}"></i></div><span>{text}</span>'


def _speed(report: dict[str, Any]) -> str:
    cards = [card for card in (_throughput(report), _streams(report), _comparison(report), _baseline(report)) if card]
    return f'<h2>How far it goes</h2><div class="grid">{"".join(cards)}</div>' if cards else ""


def _throughput(report: dict[str, Any]) -> str:
    if report["throughput"] is None:
        return ""
    return _card(
        "As fast as it can",
        f"<p><b>{_value(report, 'throughput/frames_per_s')}</b> frames a second, "
        f"{_value(report, 'throughput/times_real_time')} times what the network takes of the source</p>",
        note="frames handed over without waiting, measured apart from the latencies above",
    )


def _streams(report: dict[str, Any]) -> str:
    if report["streams"] is None:
        return ""
    tried, budget = report["streams"]["tried"], report["streams"]["budget_ms"]
    top = svg.Log(1, max([budget, *(one["p99_ms"] or 1.0 for one in tried)]) * 1.5)
    boxes: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
    ticks = []
    for i, one in enumerate(tried):
        middle = (i + 0.5) / len(tried)
        height = top(max(one["p99_ms"] or 1.0, 1.0))
        boxes[one["fits"]].append((middle - 0.35 / len(tried), middle + 0.35 / len(tried), height))
        ticks.append((middle, str(one["streams"])))
    shapes = [svg.bars(boxes[True], "data"), svg.bars(boxes[False], "bad"), svg.across(top(budget), "budget")]
    plot = svg.plot("p99 by number of streams, ms", shapes, ticks, top.ticks(3))
    key = _key(("data", "p99, fits"), ("bad", "p99, does not"), ("budget", "budget"))
    fits = f"<p><b>{_value(report, 'streams/fits')}</b> streams at the source's rate within the budget</p>"
    return _card("Streams that fit", fits, plot, key)


def _comparison(report: dict[str, Any]) -> str:
    if report["comparison"] is None:
        return ""
    rows = []
    for i, model in enumerate(report["comparison"]["models"]):
        key = f"comparison/models/{i}"
        ratio = (
            f"{_value(report, key + '/ratio')} ({_value(report, key + '/ratio_low')}–"
            f"{_value(report, key + '/ratio_high')})"
            if i
            else "1"
        )
        rows.append(
            f"<tr><td>{escape(model['name'])}<br>{escape(model['precision'])}</td>"
            f"<td>{_value(report, key + '/ms_per_frame')}</td><td>{ratio}</td></tr>"
        )
    return _card(
        "Models, interleaved",
        '<div class="scroll"><table><thead><tr><th>model</th><th>ms a frame</th>'
        f"<th>against the first</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>",
        note="taken in turns, so that heat and neighbours touch all alike; in brackets the 95 % confidence interval",
        style="wide",
    )


def _baseline(report: dict[str, Any]) -> str:
    baseline = report.get("baseline")
    if baseline is None:
        return ""
    rows = "".join(
        f"<tr><td>{escape(one['metric'])}</td><td>{_value(report, f'baseline/metrics/{i}/before')}</td>"
        f'<td>{_value(report, f"baseline/metrics/{i}/now")}</td><td class="{"bad" if one["regressed"] else ""}">'
        f"{one['change']:+.1%}</td></tr>"
        for i, one in enumerate(baseline["metrics"])
    )
    return _card(
        "Against the report before",
        '<div class="scroll"><table><thead><tr><th>metric</th><th>before</th><th>now</th><th>change</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>",
        note=f"{escape(baseline['path'])}; fails above {baseline['fail_above']:.1%}",
        style="wide",
    )


def _device(report: dict[str, Any]) -> str:
    readings = report["device"]["readings"]
    curves = (
        ("Memory (RSS), MB", "rss_mb"),
        ("CPU of this process, % of all cores", "cpu_percent"),
        ("CPU of other programs, % of all cores", "other_percent"),
        ("Temperature, °C", "temperature_c"),
        ("Slowest core's clock, MHz", "cpu_mhz"),
        ("GPU load, %", "gpu_percent"),
    )
    cards, silent = [], []
    for title, field in curves:
        points = [(r["t_s"], r[field]) for r in readings if r[field] is not None]
        if len(points) > 1:
            cards.append(_card(title, _curve(title, points)))
        elif not points:
            silent.append(title.split(",")[0].lower())
    note = f'<p class="quiet">This device does not tell: {", ".join(silent)}.</p>' if silent else ""
    return f'<h2>The device meanwhile</h2>{note}<div class="grid">{"".join(cards)}</div>'


def _curve(title: str, points: list[tuple[float, float]]) -> str:
    time = svg.Linear(points[0][0], points[-1][0])
    low, high = min(value for _, value in points), max(value for _, value in points)
    room = max((high - low) * 0.15, high * 0.02, 0.5)
    scale = svg.Linear(0, max(high, 1.0) * 1.1) if "%" in title else svg.Linear(max(0.0, low - room), high + room)
    curve = svg.line([(time(t), scale(value)) for t, value in points], "data")
    return svg.plot(title, [curve], time.ticks(5), scale.ticks(3), "7rem")


def _about(report: dict[str, Any]) -> str:
    device, run = report["device"], report["run"]
    facts = {name.replace("_", " "): value for name, value in device["facts"].items() if name != "libraries"}
    facts |= {f"{name} version": version for name, version in device["facts"]["libraries"].items()}
    facts["throttled"] = ", ".join(device["throttled"]) or "never" if device["throttled"] is not None else None
    models: dict[str, Any] = {}
    for role, model in run["models"].items():
        entries = model if isinstance(model, dict) else {"": model}
        models |= {f"{role} {name}".strip(): value for name, value in entries.items()}
    ran = {f"{stage} ran on": provider for stage, provider in run["providers"].items()}
    warmup = report["warmup"]
    settings = report["settings"] | {"command": report["tool"]["command"], "version": report["tool"]["version"]}
    settings["warm-up, not counted"] = f"{warmup['frames']} frames, {warmup['seconds']:.1f} s" if warmup else "none"
    slope = _value(report, "device/rss_slope_mb_per_hour", "MB/h")
    more = (
        f"<tr><td>RSS slope</td><td>{slope}</td></tr>"
        f"<tr><td>other programs, mean</td><td>{_value(report, 'device/other_percent_mean', '%')}</td></tr>"
    )
    return (
        '<h2>What was measured, and on what</h2><div class="grid">'
        f"{_pairs('Models', models | ran)}{_pairs('Device', facts, more)}{_pairs('Settings', settings)}</div>"
    )


def _pairs(title: str, values: dict[str, Any], more: str = "") -> str:
    rows = "".join(f"<tr><td>{escape(str(name))}</td><td>{_told(value)}</td></tr>" for name, value in values.items())
    return _card(title, f'<table class="pairs"><tbody>{rows}{more}</tbody></table>')


def _told(value: Any) -> str:
    if value is None:
        return '<span class="quiet">not told</span>'
    if isinstance(value, float):
        return svg.number(value)
    if isinstance(value, dict):
        return escape(", ".join(f"{name} {one}" for name, one in value.items()))
    return escape(str(value))


def _meanings(report: dict[str, Any]) -> str:
    entries = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in METRIC_MEANS.items())
    return f'<h2>What the words mean</h2><div class="card"><dl>{entries}</dl></div>'
