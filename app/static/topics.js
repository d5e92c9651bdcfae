// The list of topics: figures change in place, rows never move.
import { $, dress, load, t } from "./page.js";
import { Line } from "./line.js";
import { sections } from "./sentence.js";

const main = $("content"), list = $("topics");
const row = (id) => list?.querySelector(`[data-topic="${id}"]`);
const newest = Math.max(0, ...[...(list?.children ?? [])].map((item) => Number(item.dataset.topic)));
const unseen = new Set();
let timer = 0;

function change(topic) {
  const item = row(topic.id);
  if (!item) return announce(topic);
  const waited = item.querySelector("use").getAttribute("href") === "#i-bars";
  if (item.dataset.status !== topic.status || waited !== (topic.phase === "waiting")) return later();
  if (topic.phase !== "writing") return;
  item.querySelector(".percent").textContent = " " + t("part_percent", { percent: topic.progress_percent });
  item.querySelector(".second").textContent = sections(topic, t).join("");
}

function announce({ id }) {
  if (id > newest) unseen.add(id);
  const news = $("news");
  if (!news) return;
  news.hidden = !unseen.size;
  news.textContent = t("news", { count: unseen.size });
}

function remove({ id }) {
  unseen.delete(id);
  const item = row(id);
  if (item?.contains(document.activeElement)) document.querySelector("h1").focus();
  item?.remove();
  later();
}

function later() {
  timer ||= setTimeout(() => ((timer = 0), refresh().catch(() => line.lost())), 1000);
}

async function refresh() {
  const { page } = await load(location.href);
  for (const item of list?.children ?? []) {
    const fresh = page.querySelector(`#topics [data-topic="${item.dataset.topic}"]`);
    if (!fresh) continue;
    item.dataset.status = fresh.dataset.status;
    for (const part of [".badge", ".percent", ".second"]) {
      const [here, there] = [item.querySelector(part), fresh.querySelector(part)];
      if (here && there) here.replaceWith(there);
    }
  }
  const [here, there] = [document, page].map((where) => where.querySelector(".filters"));
  if (here && there) here.replaceChildren(...there.childNodes);
  dress(main);
  return true;
}

const line = new Line({
  address: () => main.dataset.stream + (line.id ? `&starting_after=${line.id}` : ""),
  on: { topic: change, deleted: remove },
  catchUp: refresh,
  tell: () => {},
});
line.open();
