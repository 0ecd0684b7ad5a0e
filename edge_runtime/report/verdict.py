"""Whether a report's figures can be relied on, and if not, why: every reason names the figure and the mend.

VALID does not mean fast. A slow run measured well is valid and misses its budgets; a fast one on a throttled device, or
of twelve samples, is not valid.
"""

from __future__ import annotations

from typing import Any

MIN_RESULTS = 100  # the 99th percentile of fewer is their maximum
MIN_SECONDS = 20.0  # shorter runs see neither heat nor a busy neighbour
MAX_OTHER_PERCENT = 10.0  # of all cores
MAX_VARIATION = 0.5  # standard deviation / mean of the stage that takes most of the time
MAX_DRIFT = 0.2  # second half against the first


def judge(report: dict[str, Any]) -> dict[str, Any]:
    """``{"valid", "reasons", "budgets_kept", "budgets_missed"}`` of a report without its verdict."""
    reasons = [*_samples(report), *_device(report), *_stability(report), *_providers(report)]
    missed = [
        f"{name}: p99 {stage['p99_ms']:.1f} ms, budget {stage['budget_ms']:.1f} ms"
        for name, stage in report["stages"].items()
        if stage["p99_ms"] > stage["budget_ms"]
    ]
    return {"valid": not reasons, "reasons": reasons, "budgets_kept": not missed, "budgets_missed": missed}


def _samples(report: dict[str, Any]) -> list[str]:
    reasons = []
    results, seconds = report["run"]["results"], report["run"]["duration_s"]
    if results < MIN_RESULTS:
        reasons.append(f"{results} results, at least {MIN_RESULTS} are needed for a 99th percentile; run longer")
    if seconds < MIN_SECONDS:
        reasons.append(f"{seconds:.1f} s measured, at least {MIN_SECONDS:.0f} s are needed; run longer")
    return reasons


def _device(report: dict[str, Any]) -> list[str]:
    reasons = []
    device = report["device"]
    governor = device["facts"]["governor"]
    if device["throttled"]:
        reasons.append(f"the device was held back ({', '.join(device['throttled'])}); cool it, or feed it better")
    if governor not in (None, "performance"):
        reasons.append(f"CPU governor '{governor}' changes the clock; set it to 'performance' while measuring")
    other = device["other_percent_mean"]
    if other is not None and other > MAX_OTHER_PERCENT:
        reasons.append(
            f"other programs took {other:.0f} % of all cores, more than {MAX_OTHER_PERCENT:.0f} %; stop them"
        )
    return reasons


def _stability(report: dict[str, Any]) -> list[str]:
    reasons = []
    work = {
        name: stage
        for name, stage in report["stages"].items()
        if name not in ("capture", "sinks", "capture_to_result") and stage["n"] > 1
    }
    if work:
        name = max(work, key=lambda stage: work[stage]["n"] * work[stage]["mean_ms"])
        stage = work[name]
        variation = stage["std_ms"] / stage["mean_ms"] if stage["mean_ms"] else 0.0
        if variation > MAX_VARIATION:
            reasons.append(
                f"unstable: coefficient of variation of {name} is {variation:.2f}, more than {MAX_VARIATION}; "
                "close other programs, or pin the clock"
            )
    bins = [one for one in report["timeline"]["bins"] if one["results"]]
    if len(bins) >= 10:
        first, second = _mean(bins[: len(bins) // 2]), _mean(bins[len(bins) // 2 :])
        if second > first * (1 + MAX_DRIFT):
            reasons.append(
                f"not steady: results of the second half are {second / first - 1:.0%} older than those of the first"
            )
    return reasons


def _mean(bins: list[dict[str, Any]]) -> float:
    return float(sum(b["mean_ms"] * b["results"] for b in bins) / sum(b["results"] for b in bins))


def _providers(report: dict[str, Any]) -> list[str]:
    asked = report["settings"].get("provider")
    ran = report["run"]["providers"]
    fell_back = sorted(stage for stage, provider in ran.items() if asked and provider != asked)
    return [f"provider {asked} was asked for, {', '.join(fell_back)} ran on the CPU"] if fell_back else []
