'use strict';
// The data of the page: {start, step, end, emotions: [name, ..], colours: {name: colour}, known: [name, ..],
// va: bool, faces: [{id, first, steps}]}; steps is base64 of bytes, for each step of time the label's number in emotions
// (255: none), the probability of each known emotion (0-254, 255: not seen), then, with va, valence and arousal
// (1-255 for -1 to 1, 0: none).
const data = JSON.parse(document.getElementById('data').textContent);
const film = document.getElementById('film');
const span = Math.max(data.end - data.start, 1e-3);
const width = 1 + data.known.length + (data.va ? 2 : 0);
const BAND = 20, ROW = 14, VA = 40, AXIS = 16, RIGHT = 8;
const HEIGHT = BAND + 4 + ROW * data.known.length + (data.va ? VA + 6 : 0) + AXIS;
let now = data.start;

function bytes(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

function clock(seconds, digits = 1) {
  // tenths are cut off, not rounded, so that a time never names a moment after it
  const tenths = Math.floor(Math.max(0, seconds) * 10 + 1e-6), whole = Math.floor(tenths / 10);
  const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = String(whole % 60).padStart(2, '0');
  const head = h ? h + ':' + String(m).padStart(2, '0') : String(m);
  return head + ':' + s + (digits ? '.' + tenths % 10 : '');
}

// ---- what a face shows at a time

function at(face, seconds) {
  const k = Math.floor((seconds - data.start) / data.step + 1e-6) - face.first;
  return k < 0 || k >= face.count || face.steps[k * width] === 255 ? null : face.steps.subarray(k * width, (k + 1) * width);
}

function words(face, seconds) {
  const step = at(face, seconds);
  if (!step) return 'not seen';
  const name = data.emotions[step[0]];
  let best = 0;
  for (let e = 1; e < data.known.length; e++) if (step[1 + e] > step[1 + best]) best = e;
  const own = data.known.indexOf(name), percent = (e) => Math.round(step[1 + e] / 2.54) + '%';
  let text = own >= 0 && own === best ? name + ' ' + percent(own) : name;
  if (own !== best && data.known.length) text += ' (' + data.known[best] + ' ' + percent(best) + ')';
  if (data.va && step[width - 2]) {
    const signed = (b) => { const v = (b - 128) / 127; return (v < 0 ? '-' : '+') + Math.abs(v).toFixed(2); };
    text += ', valence ' + signed(step[width - 2]) + ', arousal ' + signed(step[width - 1]);
  }
  return text;
}

// ---- drawing

const gutter = (w) => w < 480 ? 66 : 78;
const xOf = (seconds, w) => gutter(w) + (seconds - data.start) / span * (w - gutter(w) - RIGHT);
const timeAt = (x, w) => data.start + Math.min(1, Math.max(0, (x - gutter(w)) / (w - gutter(w) - RIGHT))) * span;

function light(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => (parseInt(colour.slice(i, i + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18;
}

function draw(face) {
  const w = boxWidth, ratio = window.devicePixelRatio || 1, canvas = face.canvas;
  if (!w) return;
  canvas.width = Math.round(w * ratio);
  canvas.height = Math.round(HEIGHT * ratio);
  const c = canvas.getContext('2d'), style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue('--ink'), faint = style.getPropertyValue('--faint');
  const line = style.getPropertyValue('--line');
  c.scale(ratio, ratio);
  c.textBaseline = 'middle';
  const edge = (k) => xOf(Math.min(data.start + (face.first + k) * data.step, data.end), w);

  // which emotion was named
  c.font = '12px system-ui, sans-serif';
  c.fillStyle = faint;
  c.textAlign = 'left';
  c.fillText('named', 0, BAND / 2);
  for (let from = 0; from < face.count;) {
    const label = face.steps[from * width];
    let to = from + 1;
    while (to < face.count && face.steps[to * width] === label) to++;
    if (label !== 255) {
      const x = edge(from), wide = Math.max(edge(to) - x, 0.5), name = data.emotions[label];
      c.fillStyle = data.colours[name];
      c.fillRect(x, 0, wide, BAND);
      if (wide > c.measureText(name).width + 8) {
        c.fillStyle = light(data.colours[name]) ? '#000' : '#fff';
        c.fillText(name, x + 4, BAND / 2 + 1);
      }
    }
    from = to;
  }

  // how probable each one was: a row each, filled as high as its probability
  c.font = '11px system-ui, sans-serif';
  data.known.forEach((name, e) => {
    const ground = BAND + 4 + ROW * (e + 1) - 1;
    c.fillStyle = faint;
    c.fillText(name, 0, ground - ROW / 2 + 1);
    c.fillStyle = line;
    c.fillRect(gutter(w), ground, w - gutter(w) - RIGHT, 0.5);
    c.fillStyle = data.colours[name];
    c.beginPath();
    for (let k = 0; k < face.count; k++) {
      const p = face.steps[k * width + 1 + e];
      if (p === 255 || p < 3) continue;
      let to = k;
      c.moveTo(edge(k), ground);
      while (to < face.count && face.steps[to * width + 1 + e] !== 255 && face.steps[to * width + 1 + e] >= 3) {
        const y = ground - face.steps[to * width + 1 + e] / 254 * (ROW - 2);
        c.lineTo(edge(to), y);
        c.lineTo(edge(to + 1), y);
        to++;
      }
      c.lineTo(edge(to), ground);
      k = to;
    }
    c.fill();
  });

  if (data.va) {
    const top = BAND + 8 + ROW * data.known.length, middle = top + VA / 2;
    c.fillStyle = line;
    c.fillRect(gutter(w), middle, w - gutter(w) - RIGHT, 0.5);
    [['valence', ink, []], ['arousal', data.colours.surprise, [4, 3]]].forEach(([name, colour, dashes], i) => {
      const y = top + VA * (0.28 + 0.44 * i), column = width - 2 + i;
      c.fillStyle = faint;
      c.fillText(name, 0, y);
      c.strokeStyle = colour;
      c.lineWidth = 1.5;
      c.setLineDash(dashes);
      c.beginPath();
      const end = c.measureText(name).width + 4;
      c.moveTo(end, y);
      c.lineTo(gutter(w) - 6, y);
      let broken = true;
      for (let k = 0; k < face.count; k++) {
        const value = face.steps[k * width + column];
        if (!value) { broken = true; continue; }
        const height = middle - (value - 128) / 127 * VA / 2;
        if (broken) c.moveTo(edge(k), height); else c.lineTo(edge(k), height);
        c.lineTo(edge(k + 1), height);
        broken = false;
      }
      c.stroke();
    });
    c.setLineDash([]);
  }

  // the clock
  c.fillStyle = faint;
  c.textAlign = 'center';
  const room = (w - gutter(w) - RIGHT) / span;
  const tick = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200].find((s) => s * room >= 56) || 14400;
  for (let t = Math.ceil(data.start / tick) * tick; t <= data.start + span + 1e-6; t += tick) {
    const x = xOf(t, w);
    c.fillRect(x, HEIGHT - AXIS, 0.5, 4);
    c.fillText(clock(t, tick < 1 ? 1 : 0), Math.min(x, w - c.measureText('00:00').width / 2), HEIGHT - 5);
  }
}

// ---- the film, and the place in it

function show() {  // of what is in the window alone: there may be fifty faces and sixty frames a second
  for (const face of faces) {
    if (!face.visible) continue;
    const text = words(face, now);
    face.playhead.style.transform = 'translateX(' + xOf(Math.min(now, data.end), boxWidth) + 'px)';
    face.text.textContent = 'at ' + clock(now) + ': ' + text;
    face.box.setAttribute('aria-valuenow', now.toFixed(2));
    face.box.setAttribute('aria-valuetext', clock(now) + ', ' + text);
  }
}

function seek(seconds) {
  now = Math.min(Math.max(seconds, data.start), data.start + span);
  if (film.readyState >= 1) film.currentTime = now;
  show();
}

function follow() {
  if (film.readyState >= 1) now = film.currentTime;
  show();
}

let following = 0;  // the next frame's number while the film plays
function play() {
  cancelAnimationFrame(following);
  follow();
  if (!film.paused && !film.ended) following = requestAnimationFrame(play);
}

function toggle() {
  if (film.paused) film.play().catch(() => {}); else film.pause();
}

function fromAddress() {
  const wanted = /^#t=(\d+(\.\d+)?)$/.exec(location.hash);
  if (wanted) seek(parseFloat(wanted[1]));
}

const faces = data.faces.map((face) => {
  const box = document.querySelector('[data-face="' + face.id + '"]'), steps = bytes(face.steps);
  box.style.height = HEIGHT + 'px';
  const [canvas, playhead, tip] = ['canvas', '.playhead', '.tip'].map((one) => box.querySelector(one));
  const text = box.closest('.face').querySelector('.now');
  return { first: face.first, steps, count: steps.length / width, box, canvas, playhead, tip, text, visible: false };
});
let boxWidth = faces.length ? faces[0].box.clientWidth : 0;  // all are as wide

for (const face of faces) {
  const place = (event) => timeAt(event.clientX - face.box.getBoundingClientRect().left, boxWidth);
  face.box.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || event.pointerType === 'touch') return;  // a finger may only mean to scroll the page
    face.box.setPointerCapture(event.pointerId);
    seek(place(event));
  });
  face.box.addEventListener('click', (event) => {
    if (event.pointerType !== 'mouse' && event.pointerType !== 'pen') seek(place(event));
  });
  face.box.addEventListener('pointermove', (event) => {
    const seconds = place(event);
    if (face.box.hasPointerCapture(event.pointerId)) seek(seconds);
    face.tip.textContent = clock(seconds) + ' ' + words(face, seconds);
    face.tip.hidden = false;
    const half = face.tip.offsetWidth / 2;
    face.tip.style.left = Math.min(Math.max(xOf(seconds, boxWidth), half), boxWidth - half) + 'px';
  });
  face.box.addEventListener('pointerleave', () => { face.tip.hidden = true; });
  face.box.addEventListener('keydown', (event) => {
    const leap = Math.max(10, span / 20);
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -leap, PageUp: leap };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) seek(now + steps[event.key] * (event.shiftKey ? 0.1 : 1));
    else if (event.key === 'Home') seek(data.start);
    else if (event.key === 'End') seek(data.start + span);
    else if (event.key === ' ' || event.key === 'Enter') toggle();
    else return;
    event.preventDefault();
  });
}

for (const button of document.querySelectorAll('button[data-time]')) {
  button.addEventListener('click', () => seek(parseFloat(button.dataset.time) + 1e-3));  // inside the frame
}

// a timeline is drawn when it comes near the window, and again when its size or the colours change
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const face = faces.find((one) => one.box === entry.target);
    face.visible = entry.isIntersecting;
    if (face.visible) draw(face);
  }
  show();
}, { rootMargin: '300px' });
faces.forEach((face) => near.observe(face.box));
function redraw() {
  boxWidth = faces.length ? faces[0].box.clientWidth : 0;
  faces.filter((face) => face.visible).forEach(draw);
  show();
}
window.addEventListener('resize', redraw);
window.addEventListener('beforeprint', () => faces.forEach(draw));
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);

film.addEventListener('play', play);
for (const event of ['timeupdate', 'seeked', 'pause']) film.addEventListener(event, follow);
film.addEventListener('loadedmetadata', () => { if (now > data.start) seek(now); });
film.addEventListener('error', () => { document.getElementById('trouble').hidden = false; });
window.addEventListener('hashchange', fromAddress);
fromAddress();
show();

const held = document.getElementById('held');
if (held) {
  // a blob, not a data: address: browsers can seek in it, and Firefox and Safari bound the length of the other
  const parts = [], length = 4 << 20, text = held.textContent;
  for (let i = 0; i < text.length; i += length) parts.push(bytes(text.slice(i, i + length)));
  film.src = URL.createObjectURL(new Blob(parts, { type: held.dataset.type }));
  held.remove();
}
