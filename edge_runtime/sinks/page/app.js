// The page: listens to /events, keeps the last minute, draws. It only ever reads, needs no other file and no internet.
"use strict";

const WINDOW_S = 60;
const COLOURS = ["#ff9942", "#3caad6", "#5ac86e", "#dc6ec8", "#e6dc46", "#f0646e", "#78c8be", "#8282eb"]; // as in overlay.py
const GREY = "#969696"; // of the background, which is no action
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

const seen = { labels: [], background: null, results: [], segments: [], faults: [], now: 0 };

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function svg(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function colour(label) {
  if (label === seen.background) return GREY;
  if (!seen.labels.includes(label)) seen.labels.push(label);
  return COLOURS[seen.labels.indexOf(label) % COLOURS.length];
}

const percent = (share) => (share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(share * 100)} %`);
const ms = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
const count = (value) => value.toLocaleString("en");
const clock = (seconds) => {
  const s = Math.max(0, Math.floor(seconds));
  const pad = (n) => String(n).padStart(2, "0");
  return (s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}` : Math.floor(s / 60)) + `:${pad(s % 60)}`;
};

const on = {
  start(event) {
    const labels = event.labels.filter((label) => label !== event.background);
    Object.assign(seen, { labels, background: event.background, results: [], segments: [], faults: [], now: 0 });
    $("source").textContent = document.title = event.source;
  },
  result(event) {
    seen.now = event.t;
    seen.results.push(event);
  },
  segment(event) {
    seen.segments.unshift(event);
    seen.segments.length = Math.min(seen.segments.length, 50);
  },
  fault(event) {
    seen.faults.unshift(event);
    seen.faults.length = Math.min(seen.faults.length, 50);
    drawFaults();
  },
  status: drawStatus,
  summary(event) {
    setState("offline", `ended: ${event.ended_by}`);
  },
};

function setState(name, text) {
  $("state").className = `pill ${name}`;
  $("state").textContent = text || name;
}

function drawResult() {
  const last = seen.results.at(-1);
  if (!last) return;
  $("label").textContent = last.label;
  $("label").className = last.warm && last.label !== seen.background ? "label" : "label quiet";
  $("top").replaceChildren(
    ...last.top.slice(0, 4).map(([label, score]) =>
      element("li", {}, element("span", {}, label), element("span", {}, percent(score)),
        svg("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none" },
          svg("rect", { width: 100 * score, height: 4, fill: colour(label) })))));
  const state = last.warm ? "" : "Warming up: the network has not seen enough yet. ";
  $("age").textContent = `${state}Known ${ms(last.capture_to_result_ms)} ms after the camera saw it.`;
}

function drawTimeline() {
  const from = seen.now - WINDOW_S;
  while (seen.results.length > 1 && seen.results[0].t < from - 5) seen.results.shift();
  const x = (t) => (100 * (Math.max(t, from) - from)) / WINDOW_S;
  const parts = [];
  const shown = new Set();
  for (const { label, start, end } of seen.segments) {
    if (end <= from) continue;
    parts.push(svg("rect", { x: x(start), width: Math.max(0.3, x(end) - x(start)), y: 0, height: 28, fill: colour(label) },
      svg("title", {}, `${label} ${start.toFixed(1)}–${end.toFixed(1)} s`)));
    shown.add(label);
  }
  // below the finished actions: what each result said, as tall as it was sure
  seen.results.forEach((result, index) => {
    const next = seen.results[index + 1];
    const width = x(next ? next.t : result.t + 0.2) - x(result.t) + 0.1; // no seam between two of one colour
    if (!result.warm || width <= 0 || width > 10) return;
    parts.push(svg("rect", { x: x(result.t), width, y: 40 - 10 * result.score, height: 10 * result.score, fill: colour(result.label) }));
    shown.add(result.label);
  });
  $("strip").setAttribute("viewBox", "0 0 100 40");
  $("strip").replaceChildren(...parts);
  $("legend").replaceChildren(...[...shown].map((label) =>
    element("li", {}, svg("svg", { viewBox: "0 0 1 1" }, svg("rect", { width: 1, height: 1, fill: colour(label) })), label)));
  $("segments").replaceChildren(...seen.segments.slice(0, 12).map((s) =>
    element("li", {}, element("span", {}, s.label), element("span", {}, `${clock(s.start)} – ${clock(s.end)} · ${percent(s.score)}`))));
}

function drawFaults() {
  $("faults").replaceChildren(...seen.faults.map((f) =>
    element("li", {}, element("span", {}, f.kind.replaceAll("-", " "), element("span", { class: "note" },
      f.detail ? " " + Object.entries(f.detail).map(([k, v]) => `${k}: ${v}`).join(", ") : "")),
    element("span", {}, f.t == null ? "" : clock(f.t)))));
}

function stageRow([name, figures]) {
  const full = Math.max(1.25 * figures.budget_ms, Math.min(figures.p99_ms, 4 * figures.budget_ms)) || 1;
  const x = (value) => Math.min(200, (200 * value) / full);
  const late = figures.miss_ratio >= 0.01;
  return element("tr", { class: name === "capture_to_result" ? "whole" : "" },
    element("th", { scope: "row" }, name === "capture_to_result" ? "capture to result" : name),
    element("td", { class: "bar" },
      svg("svg", { viewBox: "0 0 200 12", preserveAspectRatio: "none" },
        svg("rect", { class: "track", width: 200, height: 12 }),
        svg("rect", { class: figures.p50_ms > figures.budget_ms ? "fill late" : "fill", width: x(figures.p50_ms), height: 12 }),
        svg("line", { class: "tick", x1: x(figures.p99_ms), x2: x(figures.p99_ms), y1: 0, y2: 12 }),
        svg("line", { class: "budget", x1: x(figures.budget_ms), x2: x(figures.budget_ms), y1: 0, y2: 12 }))),
    element("td", { class: "figures" },
      element("span", { title: "median / 99th percentile" }, `${ms(figures.p50_ms)} / ${ms(figures.p99_ms)}`), " ",
      element("span", { title: "budget" }, `of ${ms(figures.budget_ms)} ms`)),
    element("td", { class: late ? "late" : "", title: "late, of the last 512" }, figures.miss_ratio > 0 ? `${percent(figures.miss_ratio)} late` : "in time"));
}

function pairs(id, rows) {
  $(id).replaceChildren(...rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]));
}

function drawStatus(status) {
  setState(status.state);
  const { captured, processed, dropped } = status.frames;
  const { temperature_c: celsius, throttled, rss_mb: memory, cpu_percent: own, other_percent: others } = status.device;
  $("facts").textContent = [clock(status.uptime_s), celsius == null ? null : `${celsius.toFixed(0)} °C`].filter(Boolean).join(" · ");
  $("stages").replaceChildren(...Object.entries(status.stages)
    .sort(([a], [b]) => (b === "capture_to_result") - (a === "capture_to_result")).map(stageRow));
  pairs("frames", [["captured", count(captured)], ["processed", count(processed)],
    ...Object.entries(dropped).map(([reason, n]) => [`dropped: ${reason}`, count(n)]),
    ...Object.entries(status.sinks).filter(([, sink]) => sink.failed + sink.lost)
      .map(([name, sink]) => [`missing in ${name}`, count(sink.failed + sink.lost)])]);
  pairs("device", [["temperature", celsius == null ? "no sensor" : `${celsius.toFixed(1)} °C`],
    ["throttled", throttled == null ? "unknown" : throttled.join(", ") || "no"],
    ["processor", `${own.toFixed(0)} % here, ${others.toFixed(0)} % others`], ["memory", `${memory.toFixed(0)} MB`],
    ["newest frame", status.frame_age_s == null ? "none yet" : `${status.frame_age_s.toFixed(1)} s ago`],
    ["viewers", count(status.viewers)]]);
}

// A stream that ended stays on its last picture for ever, which looks alive: ask anew whenever the feed comes back.
function loadPicture() {
  $("picture").src = `/stream.mjpg?${Date.now()}`;
}
$("picture").addEventListener("load", () => { $("no-picture").hidden = true; $("picture").hidden = false; });
$("picture").addEventListener("error", () => { $("picture").hidden = true; $("no-picture").hidden = false; });

let dirty = false;
function draw() {
  if (!dirty) return;
  dirty = false;
  drawResult();
  drawTimeline();
}

const feed = new EventSource("/events");
feed.addEventListener("open", loadPicture);
feed.addEventListener("error", () => setState("offline", "no connection"));
feed.addEventListener("message", ({ data }) => {
  const event = JSON.parse(data);
  on[event.event]?.(event);
  dirty = true;
  requestAnimationFrame(draw);
});
