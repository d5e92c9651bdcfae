// A topic's page while its report is written: the text, the strip, the outline, the end.
import { $, clock, dress, load, say, t } from "./page.js";
import { Line } from "./line.js";
import { draw } from "./open.js";
import { follow, grown, selects, settled } from "./reader.js";
import { minutes, sentence, spoken } from "./sentence.js";

const DRAW = 250, SENTENCE = 1000, TITLE = 5000, SPEECH = 30000, QUIET = 10;
const main = $("content"), data = main.dataset;
const skew = data.now ? Date.now() - Date.parse(data.now) : 0;
const points = (text) => [...text].length;

let status = null; // the last one told
let blocks = []; // told, but not on the page yet
let text = "", offset = 0; // the open block and where it begins
let held = false, grew = false, textAt = Date.now(), least = Infinity;

// The text
function begin() {
  const open = $("open");
  offset = Number(open?.dataset.offset ?? 0);
  text = open?.textContent ?? "";
  blocks = [];
  if (open) draw(open, text);
  status = null;
  least = Infinity;
  line.id = data.after;
  line.open();
}

function addText({ offset: at, text: piece }) {
  const missing = at - offset - points(text);
  if (missing > 0) return refresh(true);
  text += missing ? [...piece].slice(-missing).join("") : piece;
  textAt = Date.now();
  grew = true;
}

function addBlock(block) {
  if (block.end <= offset) return;
  text = [...text].slice(block.end - offset).join("");
  offset = block.end;
  blocks.push(block);
  grew = true;
}

function show(whole) {
  let open = $("open");
  if (!open || selects(open)) return false;
  if (blocks.length || text) $("soon")?.remove();
  if (blocks.length) open = close(open);
  const word = /\S{1,20}$/.exec(text);
  draw(open, whole || !word ? text : text.slice(0, word.index));
  grown();
  return true;
}

// What is closed takes the open block's place; the next one is an element of its own, for nothing that stands moves.
function close(open) {
  const next = open.cloneNode();
  const closed = blocks.splice(0).map(({ offset: at, end, html }) => {
    const block = document.createElement("div");
    block.className = "block";
    block.dataset.offset = at;
    block.dataset.end = end;
    block.innerHTML = html;
    return block;
  });
  open.replaceWith(...closed, next);
  return next;
}

let whole = true;
function tick() {
  if (held || (!grew && whole)) return;
  if (show(!grew)) [whole, grew] = [!grew, false];
}

// The strip
function tellStatus(next) {
  if (next.generation_id !== Number(data.generation)) return refresh();
  if (status) speak(spoken(status, next, t));
  status = next;
  if (changes(next)) refresh();
}

const changes = ({ status: word, phase }) => word !== data.status || (phase ?? "") !== data.phase;

function write(element, value) {
  if (element && element.textContent !== value) element.textContent = value;
}

function showStatus() {
  if (!status || held || data.live !== "1") return;
  const left = minutes(status, Date.now() - skew);
  if (left !== null) least = Math.min(least, left);
  if (data.finishing !== "1") tell(sentence(status, t, left === null ? null : least, clock));
  bar(status.progress_percent);
  facts();
  document.querySelectorAll("#outline li").forEach((item, i) => mark(item, i - status.sections_done));
}

function tell({ wide, narrow }) {
  const place = $("sentence");
  if (!place.querySelector(".wide") && narrow) {
    place.replaceChildren(...["wide", "narrow"].map((className) => Object.assign(document.createElement("span"), { className })));
  }
  write(narrow ? place.querySelector(".wide") : place, wide);
  if (narrow) write(place.querySelector(".narrow"), narrow);
}

function bar(percent = document.querySelector("#bar .fill")?.dataset.percent) {
  const fill = document.querySelector("#bar .fill");
  if (!fill) return;
  fill.dataset.percent = percent;
  fill.style.width = `${percent}%`;
}

function facts() {
  const { input_tokens: input, output_tokens: output } = status.usage, tokens = (input ?? 0) + (output ?? 0);
  const fact = (name) => document.querySelector(`#facts .${name}`);
  const told = [t("facts_characters", { characters: status.characters }), tokens ? t("facts_tokens", { tokens }) : t("facts_tokens_unknown")];
  write(fact("told"), status.characters || tokens ? told.join(t("join")) : "");
  const quiet = Math.floor((Date.now() - textAt) / 1000 / QUIET) * QUIET;
  write(fact("since"), quiet && status.phase === "writing" ? t("last_text", { seconds: quiet }) : "");
}

function mark(item, distance) {
  const state = distance < 0 ? "done" : distance || !status.characters ? "todo" : "current";
  if (item.className === state) return;
  item.className = state;
  if (state === "current") item.setAttribute("aria-current", "step");
  else item.removeAttribute("aria-current");
  item.querySelector("use").setAttribute("href", `#i-${{ done: "check", current: "pen", todo: "none" }[state]}`);
  write(item.querySelector(".unseen"), t(`section_${state}`));
}

let titledAt = 0;
function title() {
  if (!status || data.live !== "1" || Date.now() - titledAt < TITLE) return;
  titledAt = Date.now();
  const { phase, progress_percent: percent } = status;
  if (phase === "writing") document.title = `${t("title_writing", { percent, topic: data.title })} · Longhand`;
}

// Speech: one sentence in thirty seconds, the newest.
let spokeAt = -Infinity, next = "", waiting = 0;
function speak(words, now) {
  if (!words) return;
  next = words;
  clearTimeout(waiting);
  const wait = now ? 0 : spokeAt + SPEECH - Date.now();
  if (wait > 0) waiting = setTimeout(() => speak(next, true), wait);
  else [spokeAt] = [Date.now(), say(words)];
}

// A change of state: the server's page is fetched, and what differs takes its place.
let fetching = null, wanted = false;
function refresh(anew) {
  if (held) return;
  if (fetching) return void (wanted = true);
  fetching = load(location.pathname)
    .then(({ page }) => adopt(page, anew))
    .catch((refusal) => line.refused(refusal))
    .finally(() => {
      fetching = null;
      if (wanted) (wanted = false), refresh();
    });
}

function adopt(page, anew) {
  const fresh = page.getElementById("content");
  if (!fresh?.dataset.topic) return location.reload();
  const live = fresh.dataset.live === "1", was = data.live, focused = document.activeElement;
  anew ||= fresh.dataset.generation !== data.generation;
  const seen = [...document.querySelectorAll("#report > .block")].find((block) => block.getBoundingClientRect().bottom > 0);
  const top = seen?.getBoundingClientRect().top;
  const full = fresh.dataset.status === "completed" && $("bar");
  const regions = ["strip", "rail", "card", "below"];
  if (regions.every((id) => $(id) && fresh.querySelector(`#${id}`)) && $("report") && fresh.querySelector("#report")) {
    if (!live || anew) report($("report"), fresh.querySelector("#report"));
    regions.forEach((id) => swap($(id), fresh.querySelector(`#${id}`)));
  } else main.replaceChildren(...fresh.childNodes);
  for (const { name, value } of fresh.attributes) if (!full || name !== "class") main.setAttribute(name, value);
  if (full && !$("bar")) $("line").before(full);
  document.title = page.title;
  const icon = "link[rel=icon]";
  document.querySelector(icon).href = page.querySelector(icon).getAttribute("href");
  dress(main);
  bar(full ? 100 : undefined);
  tellLine();
  hold(held);
  settled(live);
  if (scrollY && seen?.isConnected) scrollBy({ top: seen.getBoundingClientRect().top - top, behavior: "instant" });
  if (live && (anew || !line.live)) begin();
  if (!live && was === "1") ended();
  refocus(focused);
}

function swap(here, there) {
  if (here.innerHTML === there.innerHTML) return;
  here.className = there.className;
  here.replaceChildren(...there.childNodes);
}

// A block that reads the same stays the node that it is.
function report(here, there) {
  const old = [...here.children], fresh = [...there.children];
  for (const [i, block] of fresh.entries()) {
    if (!old[i]) here.append(block);
    else if (old[i].className !== block.className || old[i].innerHTML !== block.innerHTML) old[i].replaceWith(block);
  }
  old.slice(fresh.length).forEach((block) => block.remove());
}

function ended() {
  line.stop();
  speak(t({ completed: "speak_done", failed: "speak_failed" }[data.status] ?? "speak_cancelled"), true);
  const dialog = document.querySelector("dialog[open]");
  if (!dialog) return;
  dialog.close();
  write($("line"), t("already_ended"));
  speak(t("already_ended"), true);
}

function refocus(focused) {
  if (document.activeElement !== document.body || focused === document.body) return;
  const again = (focused.id && $(focused.id)) || $("card-title") || $("state");
  again?.focus({ preventScroll: true });
}

// Hold: nothing that is shown changes until it is released.
function hold(on) {
  held = on;
  const button = $("hold");
  if (button) {
    button.setAttribute("aria-pressed", on);
    write(button, t(on ? "hold_off" : "hold"));
  }
  if (on) tell({ wide: t("held"), narrow: t("held") });
  else {
    show(true);
    showStatus();
  }
}

document.addEventListener("click", ({ target }) => {
  if (!target.closest("#hold")) return;
  hold(!held);
  speak(t(held ? "held" : "hold_off"), true);
  if (!held && status && changes(status)) refresh();
});

document.addEventListener("landed", (event) => {
  event.preventDefault();
  if (!event.detail.getElementById("content")?.dataset.topic) return location.reload();
  held = false;
  adopt(event.detail);
  $("state")?.focus({ preventScroll: true });
});

// The connection
const SAID = { lost: "line_lost", away: "line_waiting", restart: "line_restart", blocked: "line_blocked", back: "line_back", signin: "line_signed_out", missing: "error_404" };
let told = ["", 0], silence = 0, missed = false;

function tellLine([state, seconds] = told) {
  told = [state, seconds];
  const place = $("line");
  if (!place) return;
  place.replaceChildren(SAID[state] ? t(SAID[state], { seconds }) : "");
  if (state === "away") place.append(" ", Object.assign(document.createElement("button"), { type: "button", textContent: t("line_retry"), onclick: () => line.again() }));
  if (state === "signin") place.append(" ", Object.assign(document.createElement("a"), { href: `/sign-in?next=${encodeURIComponent(location.pathname)}`, textContent: t("sign_in") }));
}

function tellOf(state, seconds) {
  tellLine([state, seconds]);
  if (state === "lost" || state === "restart") {
    silence ||= setTimeout(() => ((missed = true), speak(t(SAID[state]), true)), 7000);
  } else if (state === "back" || state === "") {
    clearTimeout(silence);
    silence = 0;
    if (missed) (missed = false), speak(t("line_back"), true);
  } else if (state === "signin" || state === "missing") speak(t(SAID[state]), true);
}

async function catchUp() {
  const answer = await fetch(`${data.blocks}?starting_after=${line.id}`, { signal: AbortSignal.timeout(20000) }).catch(() => ({}));
  if (!answer.ok) throw answer.status ?? 0;
  const { data: found } = await answer.json();
  if (found.status.generation_id === Number(data.generation)) {
    found.blocks.forEach(addBlock);
    [text, grew, line.id] = [found.open.text, true, found.id];
    if (!held) show(true);
  }
  tellStatus(found.status);
  title();
  return ["queued", "generating"].includes(found.status.status);
}

const line = new Line({
  address: () => `${data.stream}&starting_after=${line.id}`,
  on: { status: tellStatus, block: addBlock, text: addText, done: tellStatus },
  catchUp,
  tell: tellOf,
});

document.addEventListener("stale", () => refresh());
line.channel.addEventListener("message", ({ data: { opened } }) => {
  const unsaved = [...document.querySelectorAll("[data-unsaved]")].some((field) => field.value !== field.defaultValue);
  if (opened?.startsWith(data.stream) && data.live !== "1" && !unsaved) refresh();
});

bar();
if (data.live === "1") {
  begin();
  if (document.activeElement === $("state")) speak(t("speak_started"), true);
}
setInterval(tick, DRAW);
setInterval(() => (showStatus(), title()), SENTENCE);
