// What every page has: words, times, forms, dialogs, the one element that is spoken.

const LANGUAGE = document.documentElement.lang, LOCALE = LANGUAGE === "en" ? "en-GB" : LANGUAGE;
const NUMBER = new Intl.NumberFormat(LOCALE);
const WORDS = JSON.parse(document.getElementById("words")?.textContent ?? "{}");

/** Return the element with an id. */
export const $ = (id) => document.getElementById(id);

/** Return words in the page's language, with values filled in: `{count}`, and by number `{count:topic|topics}`. */
export function t(key, values = {}) {
  return (WORDS[key] ?? "").replace(/\{(\w+)(?::(.*?)\|(.*?))?\}/g, (_, name, one, many) => {
    const value = values[name];
    if (one !== undefined) return value === 1 ? one : many;
    return typeof value === "number" ? NUMBER.format(value) : value;
  });
}

/** Return a moment's time of day, as people here read it. */
export function clock(moment) {
  return new Intl.DateTimeFormat(LOCALE, { hour: "numeric", minute: "2-digit", hour12: true }).format(new Date(moment));
}

function day(moment) {
  const then = new Date(moment), midnight = (date) => new Date(date).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(then) - midnight(Date.now())) / 864e5);
  if (days === 0 || days === -1) return new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" }).format(days, "day");
  const year = then.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  return new Intl.DateTimeFormat(LOCALE, { month: LANGUAGE === "en" ? "short" : "long", day: "numeric", ...year }).format(then);
}

/** Make what has just come from the server fit for a page with scripts. */
export function dress(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const { form = "moment" } = time.dataset, moment = time.dateTime;
    time.textContent = { clock: clock(moment), day: day(moment) }[form] ?? `${day(moment)} ${clock(moment)}`;
  }
  for (const scripted of root.querySelectorAll("[data-script]")) scripted.hidden = false;
  for (const field of root.querySelectorAll("[data-limit]")) count(field);
}

/** Say a sentence through the page's status element. */
export function say(text) {
  const announcer = $("announcer");
  if (announcer) announcer.textContent = text;
}

/** Fetch a page of ours; returns it with its address. Throws the answer's status, 0 where there is none. */
export async function load(address, options = {}) {
  const answer = await fetch(address, { ...options, signal: AbortSignal.timeout(20000) }).catch(() => ({ status: 0 }));
  if (!answer.status || answer.status >= 500) throw answer.status;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") throw 401;
  return { page, address: answer.url, ok: answer.ok, status: answer.status };
}

const target = (form, submitter) => submitter?.getAttribute("formaction") ?? form.getAttribute("action");

function send(form, submitter) {
  return load(target(form, submitter), { method: "POST", body: new URLSearchParams(new FormData(form, submitter)) });
}

/** Put what a form led to on the page: its own new state in place, another page by going there. */
function land({ page, address }) {
  const change = new CustomEvent("landed", { detail: page, cancelable: true });
  const here = new URL(address).pathname === location.pathname;
  if (!here || document.dispatchEvent(change)) location.assign(address);
}

/** Save in place: what was typed stays as it is, and so does the focus. */
async function keep(form, submitter) {
  const found = await send(form, submitter).catch(() => null);
  delete form.dataset.sent;
  const fresh = found?.page.getElementById(form.id);
  if (!fresh) return tell(form, t("line_unreachable"));
  if (!found.ok) {
    $("content").replaceChildren(...found.page.getElementById("content").childNodes);
    dress(document);
    return document.querySelector("#summary, #theirs")?.focus();
  }
  for (const field of form.elements) {
    if (field.type === "hidden") field.value = fresh.elements[field.name].value;
    else if ("defaultValue" in field) field.defaultValue = field.value;
  }
  form.querySelector(".saved").replaceChildren(...fresh.querySelector(".saved").childNodes);
  dress(form);
  say(t("outline_just_saved"));
}

// Dialogs: a confirmation is a page of its own; here it is asked above the page.
async function ask(link) {
  let found;
  try {
    found = await load(link.href);
  } catch {
    return location.assign(link.href);
  }
  const form = found.page.querySelector("form#confirm");
  if (!form) {
    say(t("already_ended"));
    return document.dispatchEvent(new Event("stale"));
  }
  const dialog = document.createElement("dialog");
  dialog.setAttribute("role", "alertdialog");
  dialog.setAttribute("aria-labelledby", "confirm-title");
  dialog.setAttribute("aria-describedby", "confirm-text");
  dialog.append(form);
  document.body.append(dialog);
  dress(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (!dialog.returnValue) (link.isConnected ? link : $("state"))?.focus();
  });
  dialog.showModal();
  dialog.querySelector("[data-close]")?.focus();
}

async function confirm(form, submitter) {
  const dialog = form.closest("dialog");
  try {
    const found = await send(form, submitter);
    if (found.ok) {
      dialog.close("done");
      return land(found);
    }
    tell(form, found.page.querySelector("#problem, [role=alert]")?.textContent.trim() || t("error_other"));
  } catch (status) {
    tell(form, t(status === 401 ? "line_signed_out" : "line_unreachable"));
  }
  delete form.dataset.sent;
}

function tell(form, text) {
  const line = form.querySelector(".fault") ?? form.appendChild(document.createElement("p"));
  line.className = "fault";
  line.setAttribute("role", "alert");
  line.textContent = text;
}

// Forms: sent once, in whatever way they are sent.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) return event.preventDefault();
  if (form.method === "post") form.dataset.sent = "1";
  const stays = "stay" in form.dataset && !target(form, event.submitter).endsWith("/write");
  const does = form.closest("dialog") ? confirm : stays && keep;
  if (!does) return;
  event.preventDefault();
  does(form, event.submitter);
});

addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((form) => delete form.dataset.sent));

addEventListener("beforeunload", (event) => {
  const unsaved = (field) => field.value !== field.defaultValue && !field.form?.dataset.sent;
  if ([...document.querySelectorAll("[data-unsaved]")].some(unsaved)) event.preventDefault();
});

// Ctrl or Command with Enter sends a large field's form; what is being composed is finished first.
let composed = null;
document.addEventListener("keydown", (event) => {
  const form = event.target.matches("textarea") && event.target.form;
  if (!form || !(event.ctrlKey || event.metaKey) || (event.key !== "Enter" && event.code !== "Enter")) return;
  if (event.isComposing || event.keyCode === 229) composed = form;
  else form.requestSubmit();
});
document.addEventListener("compositionend", () => {
  const form = composed;
  composed = null;
  if (form) setTimeout(() => form.requestSubmit());
});

function count(field) {
  const limit = Number(field.dataset.limit), length = [...field.value].length;
  let line = field.parentElement.querySelector(".counter");
  if (!line) field.after((line = Object.assign(document.createElement("p"), { className: "counter hint" })));
  line.textContent = length < limit * 0.8 ? "" : t("counter", { count: length, limit });
}

document.addEventListener("input", ({ target }) => target.dataset.limit && count(target));

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-dialog], [data-close], [data-copy], [data-show]");
  if (!target || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const { dialog, close, copy: source, show } = target.dataset;
  if (dialog !== undefined) event.preventDefault(), ask(target);
  else if (close !== undefined && target.closest("dialog")) event.preventDefault(), target.closest("dialog").close();
  else if (source) copy(target, source);
  else if (show) {
    const hidden = $(show).type === "password";
    $(show).type = hidden ? "text" : "password";
    target.setAttribute("aria-pressed", hidden);
  }
});

async function copy(button, source) {
  const label = button.textContent;
  try {
    const text = source[0] === "#" ? $(source.slice(1)).value : await (await fetch(source)).text();
    await navigator.clipboard.writeText(text);
    button.lastChild.textContent = t("copied");
    setTimeout(() => (button.lastChild.textContent = label.trim()), 3000);
    say(t("copied"));
  } catch {
    say(t("copy_failed"));
  }
}

dress(document);
const first = document.querySelector("#summary, [autofocus]") ?? $(location.hash === "#state" ? "state" : document.querySelector(".said") && "heading");
if (first && document.activeElement !== first) first.focus();
if (location.hash === "#state") history.replaceState(null, "", location.pathname);
