// Plays a stream on the gateway's page in headless Chromium, as a viewer would, and says what
// came of it. Exit status 0: played to the end of the playlist, frames decoded, no fatal error.
//
//   node play.mjs http://127.0.0.1:9935 STREAM [SCREENSHOT.png]
//
// The stream may still run: then what was its end when playing began must have been passed. Drives
// chromedriver over W3C WebDriver; no packages.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";

const [gateway, stream, screenshot] = process.argv.slice(2);
const DEADLINE_MS = 120_000;
const PORT = 9515 + Math.floor(Math.random() * 1000);
const base = `http://127.0.0.1:${PORT}`;

async function ask(method, path, body) {
  const answer = await fetch(base + path, { method, body: body && JSON.stringify(body) });
  const { value } = await answer.json();
  if (!answer.ok) throw new Error(`${method} ${path}: ${value?.message}`);
  return value;
}

async function until(what, check, deadline) {
  for (;;) {
    const found = await check().catch((error) => ({ error }));
    if (found && !found.error) return found;
    if (Date.now() > deadline) throw new Error(`${what}: ${found?.error?.message ?? "never"}`);
    await new Promise((resume) => setTimeout(resume, 200));
  }
}

const LOOK = `
  const video = document.getElementById("video");
  const quality = video.getVideoPlaybackQuality();
  return {
    time: video.currentTime, end: video.seekable.length ? video.seekable.end(0) : 0,
    start: video.seekable.length ? video.seekable.start(0) : 0,
    frames: quality.totalVideoFrames, dropped: quality.droppedVideoFrames,
    ended: video.ended, width: video.videoWidth, height: video.videoHeight, paused: video.paused,
    fatal: window.fatalError ?? null, streams: document.querySelectorAll("#streams li").length,
    status: document.getElementById("player-status").textContent,
  };`;

const driver = spawn("chromedriver", [`--port=${PORT}`], { stdio: "ignore" });
const deadline = Date.now() + DEADLINE_MS;
let failed = null;
try {
  await until("chromedriver", async () => (await ask("GET", "/status")).ready, deadline);
  const { sessionId } = await ask("POST", "/session", {
    capabilities: { alwaysMatch: { "goog:chromeOptions": {
      args: ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,900",
        "--autoplay-policy=no-user-gesture-required"],
    } } },
  });
  const session = `/session/${sessionId}`;
  try {
    await ask("POST", `${session}/url`, { url: `${gateway}/#${encodeURIComponent(stream)}` });
    let last;
    let end = 0;
    try {
      await until("playing to the end", async () => {
        last = await ask("POST", `${session}/execute/sync`, { script: LOOK, args: [] });
        if (last.fatal) throw new Error(`fatal error ${last.fatal}`);
        end ||= last.frames > 0 ? last.end : 0;
        // to the end of the last segment, but for a frame or two
        return end > 0 && (last.ended || last.time >= end - 0.1);
      }, deadline);
    } finally {
      console.log(JSON.stringify(last));
      if (screenshot) {
        const png = await ask("GET", `${session}/screenshot`);
        writeFileSync(screenshot, Buffer.from(png, "base64"));
      }
    }
  } finally {
    await ask("DELETE", session);
  }
} catch (error) {
  failed = error;
} finally {
  driver.kill();
}
if (failed) {
  console.error(String(failed.message ?? failed));
  process.exit(1);
}
