// Lists the gateway's streams and plays the chosen one. `#<stream>` in the address
// chooses it, so that a link to a playing stream can be passed on.
"use strict";

const REFRESH_MS = 2000;
const element = (id) => document.getElementById(id);
const video = element("video");
let chosen = null;
let hls = null;

function item(stream) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", String(stream.manifestId === chosen));
  const part = (name, text) => {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = text;
    button.append(span);
  };
  part("name", stream.manifestId);
  part(stream.live ? "live" : "facts", stream.live ? "live" : "ended");
  part("facts", `${stream.segments} segments`);
  part("facts", stream.renditions.join(", "));
  button.addEventListener("click", () => play(stream));
  const entry = document.createElement("li");
  entry.append(button);
  return entry;
}

function show(streams) {
  const live = streams.filter((stream) => stream.live).length;
  const summary = `${live} live of ${streams.length} ${streams.length === 1 ? "stream" : "streams"}`;
  if (element("summary").textContent !== summary) element("summary").textContent = summary;
  element("empty").hidden = streams.length > 0;
  const list = element("streams");
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...streams.map(item));
  if (focused >= 0) list.querySelectorAll("button")[focused]?.focus();
}

function status(text) {
  element("player-status").textContent = text;
}

function levels() {
  const select = element("level");
  const name = (level) => (level.height ? `${level.height}p` : "source");
  const rate = (level) => `${Math.round(level.bitrate / 1000)} kbit/s`;
  select.replaceChildren(
    new Option("automatic", "-1"),
    ...hls.levels.map((level, index) => new Option(`${name(level)}, ${rate(level)}`, String(index))),
  );
  select.onchange = () => { hls.currentLevel = Number(select.value); };
}

function play(stream) {
  chosen = stream.manifestId;
  history.replaceState(null, "", `#${encodeURIComponent(chosen)}`);
  element("player").hidden = false;
  element("player-title").textContent = `Player: ${chosen}`;
  status("");
  hls?.destroy();
  if (!Hls.isSupported()) {
    video.src = stream.playlist;
    video.play().catch(() => {});
    return;
  }
  hls = new Hls({ liveSyncDurationCount: 2 });
  window.player = hls;
  hls.on(Hls.Events.MANIFEST_PARSED, () => {
    levels();
    video.play().catch(() => status("Press play."));
  });
  hls.on(Hls.Events.ERROR, (_, error) => {
    if (!error.fatal) return;
    status(`Playback failed: ${error.details}`);
    window.fatalError = error.details;
  });
  hls.loadSource(stream.playlist);
  hls.attachMedia(video);
}

async function refresh() {
  try {
    const answer = await fetch("/api/streams");
    const { streams } = await answer.json();
    show(streams);
    const asked = decodeURIComponent(location.hash.slice(1));
    const wanted = streams.find((stream) => stream.manifestId === asked && stream.segments > 0);
    if (chosen === null && wanted) play(wanted);
  } catch {
    element("summary").textContent = "The gateway does not answer.";
  }
  setTimeout(refresh, REFRESH_MS);
}

element("origin").textContent = location.origin;
refresh();
