// The page of `emovox serve`: gives a file or the microphone to the server, and draws what comes back.

const settings = JSON.parse(document.body.dataset.settings);
const EMOTIONS = Object.keys(settings.colours);
const RATE_HZ = settings.rate_hz;
const token = new URLSearchParams(location.search).get("token");
const at = (id) => document.getElementById(id);

// ---- state: windows as the server gives them, and the sound at RATE_HZ

let windows = [];
let sound = new Float32Array(0);
let lengthS = 0;

function variant() {
  return document.querySelector("input[name=variant]:checked").value;
}

/** Probabilities of a window (eight numbers), or null if it is silent. */
function raw(window) {
  return window.neutral === null ? null : EMOTIONS.map((name) => window[name]);
}

/** All windows in the chosen form. "centred": the mean of the log probabilities over the recording taken off each window's. */
function shown() {
  if (variant() === "corrected") {
    return windows.map((w) => (raw(w) === null ? null : EMOTIONS.map((name) => w[name + "_corrected"])));
  }
  const plain = windows.map(raw);
  if (variant() === "raw") return plain;
  const logs = plain.map((p) => p && p.map((value) => Math.log(Math.max(value, 1e-12))));
  const heard = logs.filter((row) => row);
  const mean = EMOTIONS.map((_, e) => heard.reduce((sum, row) => sum + row[e], 0) / heard.length);
  return logs.map((row) => {
    if (!row) return null;
    const odds = row.map((value, e) => Math.exp(value - mean[e]));
    const sum = odds.reduce((a, b) => a + b, 0);
    return odds.map((value) => value / sum);
  });
}

// ---- drawing

/** A window stands for the time around its middle, half way to its neighbours. */
function edges(k) {
  const middle = (w) => (w.start_s + w.end_s) / 2;
  const here = middle(windows[k]);
  const left = k ? (middle(windows[k - 1]) + here) / 2 : windows[k].start_s;
  const right = k + 1 < windows.length ? (here + middle(windows[k + 1])) / 2 : windows[k].end_s;
  return [left, right];
}

function drawTimeline() {
  const canvas = at("timeline"), pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const probabilities = shown();
  probabilities.forEach((row, k) => {
    if (!row) return;
    const [left, right] = edges(k).map((s) => (s / lengthS) * canvas.width);
    let bottom = canvas.height;
    row.forEach((value, e) => {
      const height = value * canvas.height;
      pen.fillStyle = settings.colours[EMOTIONS[e]];
      pen.fillRect(left, bottom - height, right - left + 0.5, height);
      bottom -= height;
    });
  });
  fillTable(probabilities);
}

function fillTable(probabilities) {
  const body = at("numbers").tBodies[0];
  body.replaceChildren();
  const heard = probabilities.map((row, k) => [row, k]).filter(([row]) => row);
  if (!heard.length) return;
  EMOTIONS.map((name, e) => {
    const mean = heard.reduce((sum, [row]) => sum + row[e], 0) / heard.length;
    const [most, when] = heard.reduce((best, [row, k]) => (row[e] > best[0] ? [row[e], k] : best), [-1, 0]);
    return { name, mean, most, when };
  })
    .sort((a, b) => b.mean - a.mean)
    .forEach(({ name, mean, most, when }) => {
      const row = body.insertRow();
      row.dataset.emotion = name;
      row.dataset.mean = mean;
      const { start_s, end_s } = windows[when];
      [name, percent(mean), `${percent(most)}, ${start_s.toFixed(1)} to ${end_s.toFixed(1)} s`].forEach((text) => {
        row.insertCell().textContent = text;
      });
    });
}

const percent = (share) => `${Math.round(100 * share)} %`;

/** Magnitudes of 256 frequencies of 512 samples, by a radix-2 FFT. */
function magnitudes(samples, start) {
  const n = 512, re = new Float32Array(n), im = new Float32Array(n);
  for (let k = 0, j = 0; k < n; k++) {
    re[j] = (samples[start + k] || 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * k) / n));
    let bit = n >> 1;
    while (j & bit) { j ^= bit; bit >>= 1; }
    j |= bit;
  }
  for (let size = 2; size <= n; size *= 2) {
    for (let block = 0; block < n; block += size) {
      for (let k = 0; k < size / 2; k++) {
        const angle = (-2 * Math.PI * k) / size, c = Math.cos(angle), s = Math.sin(angle);
        const a = block + k, b = a + size / 2;
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x; im[b] = im[a] - y; re[a] += x; im[a] += y;
      }
    }
  }
  return Array.from({ length: n / 2 }, (_, k) => Math.hypot(re[k], im[k]));
}

function drawSpectrogram() {
  const canvas = at("spectrogram"), pen = canvas.getContext("2d");
  const image = pen.createImageData(canvas.width, canvas.height);
  image.data.fill(255);
  const samples = lengthS * RATE_HZ;
  const columns = [];
  let loudest = 1e-9;
  for (let x = 0; x < canvas.width; x++) {
    const start = Math.round((x / canvas.width) * samples - 256);
    if (start >= sound.length) break;
    columns.push(magnitudes(sound, Math.max(0, start)));
    for (const value of columns[x]) loudest = Math.max(loudest, value);
  }
  columns.forEach((column, x) => {
    for (let y = 0; y < canvas.height; y++) {
      const level = column[Math.floor(((canvas.height - 1 - y) / canvas.height) * 256)];
      const db = 20 * Math.log10(Math.max(level, 1e-9) / loudest);
      image.data.fill(Math.round(255 * Math.min(1, Math.max(0, -db / 65))), 4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3);
    }
  });
  pen.putImageData(image, 0, 0);
}

function draw() {
  if (!windows.length) return;
  at("answer").hidden = false;
  at("length").textContent = `${lengthS.toFixed(1)} s`;
  drawTimeline();
  drawSpectrogram();
}

function say(text, isProblem = false) {
  at("status").textContent = text;
  at("status").classList.toggle("problem", isProblem);
}

// ---- a file

async function ask(file) {
  stopSpeaking();
  at("answer").hidden = true;
  say(`listening to ${file.name} ...`);
  const began = performance.now();
  const query = new URLSearchParams({ name: file.name, timeline: "1" });
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response, answer;
  try {
    response = await fetch(`predict?${query}`, { method: "POST", body: file, headers });
    answer = await response.json();
  } catch (error) {
    return say(`the server did not answer (${error.message})`, true);
  }
  if (answer.error) return say(answer.error, true);
  if (answer.reject_reason) return say(`${file.name}: ${answer.meaning} (${answer.reject_reason}: ${answer.reject_detail})`, true);
  windows = answer.timeline;
  lengthS = answer.seconds;
  sound = await decoded(file);
  at("name").textContent = file.name;
  at("player").src = URL.createObjectURL(file);
  at("player").hidden = false;
  draw();
  const best = settings.has_prior ? answer.emotion_corrected : answer.emotion;
  const clipped = answer.clipped > 0.01 ? `; ${percent(answer.clipped)} of its samples are clipped, so take this with care` : "";
  say(`${file.name}: ${best}, ${answer.seconds.toFixed(1)} s of sound, answered in ${((performance.now() - began) / 1000).toFixed(1)} s${clipped}`);
}

/** The sound at RATE_HZ, for the spectrogram alone; nothing where the browser cannot read the file. */
async function decoded(file) {
  try {
    const context = new OfflineAudioContext(1, 1, RATE_HZ);
    return (await context.decodeAudioData(await file.arrayBuffer())).getChannelData(0);
  } catch {
    return new Float32Array(0);
  }
}

// ---- the microphone

let speaking = null;

async function speak() {
  windows = [];
  sound = new Float32Array(0);
  lengthS = 0;
  at("player").hidden = true;
  at("playhead").hidden = true;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (error) {
    return say(`no microphone (${error.message})`, true);
  }
  const context = new AudioContext({ sampleRate: RATE_HZ });
  await context.audioWorklet.addModule("static/recorder.js");
  const address = new URL(`live${token ? `?${new URLSearchParams({ token })}` : ""}`, location.href.split("?")[0]);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  const recorder = new AudioWorkletNode(context, "recorder");
  speaking = { stream, context, socket };
  const pieces = [];
  recorder.port.onmessage = ({ data }) => {
    pieces.push(data);
    if (socket.readyState === WebSocket.OPEN) socket.send(Int16Array.from(data, (v) => Math.max(-32768, Math.min(32767, Math.round(32768 * v)))));
  };
  socket.onmessage = ({ data }) => {
    windows.push(JSON.parse(data));
    lengthS = windows.at(-1).end_s;
    sound = Float32Array.from(pieces.flatMap((piece) => Array.from(piece)));
    draw();
  };
  socket.onclose = ({ reason }) => {
    if (speaking?.socket === socket) stopSpeaking();
    if (reason) say(reason, true);
  };
  context.createMediaStreamSource(stream).connect(recorder);
  at("name").textContent = "Your voice";
  at("speak").textContent = "Stop";
  at("speak").classList.add("speaking");
  say("speak; the first answer comes after two seconds");
}

function stopSpeaking() {
  if (!speaking) return;
  const { stream, context, socket } = speaking;
  speaking = null;
  stream.getTracks().forEach((track) => track.stop());
  context.close();
  socket.close();
  at("speak").textContent = "Speak";
  at("speak").classList.remove("speaking");
  say(`${lengthS.toFixed(1)} s heard`);
}

// ---- what the page reacts to

document.querySelectorAll("canvas.swatch").forEach((canvas) => {
  const pen = canvas.getContext("2d");
  pen.fillStyle = settings.colours[canvas.dataset.emotion];
  pen.fillRect(0, 0, canvas.width, canvas.height);
});
if (at("no-token")) at("no-token").hidden = token !== null;
at("variants").addEventListener("change", draw);
at("file").addEventListener("change", ({ target }) => target.files.length && ask(target.files[0]));
at("speak").addEventListener("click", () => (speaking ? stopSpeaking() : speak()));
const drop = at("drop");
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
}
addEventListener("drop", ({ dataTransfer }) => dataTransfer.files.length && ask(dataTransfer.files[0]));
const player = at("player"), playhead = at("playhead");
const follow = () => {
  playhead.hidden = player.hidden;
  playhead.style.left = `${(100 * player.currentTime) / lengthS}%`;
  if (!player.paused) requestAnimationFrame(follow);
};
player.addEventListener("play", follow);
player.addEventListener("seeked", follow);
