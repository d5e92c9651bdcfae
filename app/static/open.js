// The open block: Markdown that is still growing, drawn as DOM nodes. Its text goes in as text, never as HTML.
// Marks that are not closed yet are closed for display; a mark that stands alone at the very end waits.

const WAITS = /(?:^|\n)[ \t]{0,3}(?:#{1,6}|[-+*_=][-+*_= \t]*|\d{1,9}[.)]|>+|(?:`{3}|~{3})[^\n]*|\|[ \t|:-]*)[ \t]*$|[*_~`\\|![]+$/;
const TOKEN = /\\([!-/:-@[-`{-~])|(`+)|\*+|_+|~~|!?\[([^[\]\n]*)\](?:\([^)\n]*\)?|\[[^\]\n]*\]?)| {2,}\n/g;
const FENCE = /^ {0,3}(`{3,}|~{3,})/, HEADING = /^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*$/, ROW = /^ {0,3}\|/;
const QUOTE = /^ {0,3}> ?/, RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/, BLANK = /^\s*$/;
const ITEM = /^( *)([-+*]|\d{1,9}[.)])( +)/, DASHES = /^[ |:-]+$/;
const TAGS = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "s" };

/** Draw `text` into `element`: what stands already keeps its nodes. */
export function draw(element, text) {
  const fresh = document.createElement("div");
  blocks(fresh, text.replace(WAITS, "").split("\n"));
  fresh.normalize();
  morph(element, fresh);
}

function add(parent, tag) {
  return parent.appendChild(document.createElement(tag));
}

function blocks(into, lines, tight) {
  for (let i = 0; i < lines.length; ) {
    const begun = i, line = lines[i];
    const run = (test) => {
      while (i < lines.length && test(lines[i])) i++;
      return lines.slice(begun, i);
    };
    let found;
    if (BLANK.test(line)) i++;
    else if ((found = FENCE.exec(line))) {
      i++;
      const code = run((next) => !next.trimStart().startsWith(found[1])).slice(1);
      i++;
      add(add(into, "pre"), "code").textContent = code.join("\n");
    } else if ((found = HEADING.exec(line))) {
      i++;
      inline(add(into, `h${Math.min(found[1].length + 1, 6)}`), found[2]);
    } else if (RULE.test(line)) i++, add(into, "hr");
    else if (ROW.test(line)) table(into, run((next) => ROW.test(next)));
    else if (QUOTE.test(line)) {
      const quoted = run((next) => QUOTE.test(next));
      blocks(add(into, "blockquote"), quoted.map((next) => next.replace(QUOTE, "")));
    } else if (ITEM.test(line)) i = list(into, lines, i);
    else {
      const text = run((next) => next === line || !begins(next)).join("\n").trim();
      inline(tight ? into : add(into, "p"), text);
    }
  }
}

function begins(line) {
  return [BLANK, FENCE, HEADING, QUOTE, ITEM].some((start) => start.test(line));
}

function list(into, lines, i) {
  const [, indent, mark] = ITEM.exec(lines[i]);
  const element = add(into, mark.length > 1 ? "ol" : "ul");
  if (mark.length > 1 && parseInt(mark) !== 1) element.start = parseInt(mark);
  const items = [];
  for (let blank = false; i < lines.length; i++) {
    const found = ITEM.exec(lines[i]), line = lines[i];
    const inner = line.search(/\S/) > indent.length;
    if (found && found[1].length <= indent.length) {
      if (found[1].length < indent.length || found[2].length > 1 !== mark.length > 1) break;
      items.push([line.slice(found[0].length)]);
    } else if (BLANK.test(line) || inner) items.at(-1).push(line.replace(/^ {1,4}/, ""));
    else if (blank || begins(line)) break;
    else items.at(-1).push(line);
    blank = BLANK.test(line);
  }
  const loose = items.slice(0, -1).some((item) => BLANK.test(item.at(-1)));
  for (const item of items) blocks(add(element, "li"), item, !loose);
  return i;
}

function table(into, rows) {
  const frame = add(into, "div");
  frame.className = "scroll";
  const element = add(frame, "table");
  let sides = [];
  for (const [number, row] of rows.entries()) {
    const cells = row.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
    if (number === 1 && DASHES.test(row)) {
      sides = cells.map((dashes) => (/-:$/.test(dashes) ? (dashes[0] === ":" ? "center" : "right") : ""));
      element.querySelectorAll("th").forEach((cell, i) => sides[i] && (cell.className = sides[i]));
      continue;
    }
    const line = add(number ? element.tBodies[0] ?? add(element, "tbody") : add(element, "thead"), "tr");
    for (const [i, text] of cells.entries()) {
      const cell = add(line, number ? "td" : "th");
      if (sides[i]) cell.className = sides[i];
      inline(cell, text);
    }
  }
}

/** Draw text with emphasis, code and links; an emphasis may begin and end beside any Hangul, as in the reading view. */
export function inline(into, text) {
  const inner = [into], open = [];
  let last = 0;
  const put = (piece) => piece && inner.at(-1).append(piece);
  for (const { 0: token, 1: escaped, 2: ticks, 3: label, index } of text.matchAll(TOKEN)) {
    if (index < last) continue; // it stands in code
    put(text.slice(last, index));
    last = index + token.length;
    if (escaped) put(escaped);
    else if (ticks) {
      const end = (text + ticks).indexOf(ticks, last);
      add(inner.at(-1), "code").textContent = text.slice(last, end);
      last = end + ticks.length;
    } else if (label !== undefined) inline(add(inner.at(-1), "a"), label);
    else if (token.endsWith("\n")) add(inner.at(-1), "br");
    else emphasis(token, text[index - 1] ?? " ", text[last] ?? " ", inner, open, put);
  }
  put(text.slice(last));
}

function emphasis(run, before, after, inner, open, put) {
  const word = run[0] === "_" ? /[\p{L}\p{N}]/u : /[a-z0-9]/i;
  const closes = !/\s/.test(before), opens = !/\s/.test(after) && !(word.test(before) && run.length === 1);
  while (run) {
    const mark = run.slice(0, 2) in TAGS ? run.slice(0, 2) : run[0];
    const ended = closes && run.startsWith(open.at(-1)) ? open.at(-1) : mark;
    if (closes && open.includes(ended)) {
      const at = open.lastIndexOf(ended);
      open.length = at;
      inner.length = at + 1;
      run = run.slice(ended.length);
    } else if (opens && mark in TAGS) {
      open.push(mark);
      inner.push(add(inner.at(-1), TAGS[mark]));
      run = run.slice(mark.length);
    } else {
      put(run);
      return;
    }
  }
}

// Text that has only grown is appended to: a node that is replaced would lose what is selected in it.
function morph(old, fresh) {
  const nodes = [...fresh.childNodes];
  for (const [i, node] of nodes.entries()) {
    const there = old.childNodes[i];
    if (!there) old.append(node);
    else if (there.nodeName !== node.nodeName) there.replaceWith(node);
    else if (node.nodeType !== Node.TEXT_NODE) {
      if (there.className !== node.className) there.className = node.className;
      morph(there, node);
    } else if (node.data.startsWith(there.data)) there.appendData(node.data.slice(there.data.length));
    else there.data = node.data;
  }
  while (old.childNodes.length > nodes.length) old.lastChild.remove();
}
