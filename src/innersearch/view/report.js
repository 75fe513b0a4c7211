"use strict";
const all = JSON.parse(document.getElementById("data").textContent);
const element = id => document.getElementById(id);
const FILTERS = ["origin", "group", "verdict", "calls", "depth", "needle"];
const controls = FILTERS.map(element);
const CHUNK = 300, COLUMNS = 24;
const place = new Map(all.map((t, index) => [t.id, index]));
const beside = new Map();
all.forEach((t, index) => beside.set(t.asked, [...(beside.get(t.asked) ?? []), index]));
let chosen = null, together = false, found = [], listed = 0;

const make = (tag, text, name) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
};
const plain = text => text.replaceAll("_", " ");
const signed = value => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(2);
const fill = (id, label, values) => {
  const none = make("option", label); none.value = "";
  element(id).append(none, ...[...new Set(values)].map(value => { const o = make("option", plain(String(value))); o.value = value; return o; }));
};
const numbers = values => [...new Set(values.filter(value => value != null))].sort((a, b) => a - b);
fill("origin", "any origin", all.map(t => t.origin));
fill("group", "any group", all.map(t => t.group));
fill("calls", "any number", numbers(all.map(t => t.calls)));
fill("depth", "any depth", numbers(all.map(t => t.depth)));
const text = t => t.said ??= (t.question + " " + t.spans.map(s => s.text).join("")).toLowerCase();

/* Gold answers in what was returned: whole words, whatever their case. */
const golds = t => {
  const texts = t.golden.filter(gold => gold.trim()).map(gold => gold.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return texts.length ? new RegExp(`(?<![\\p{L}\\p{N}])(${texts.join("|")})(?![\\p{L}\\p{N}])`, "giu") : null;
};
function written(span, gold) {
  const injected = !["policy", "self_search"].includes(span.source);
  const names = (span.masked ? "masked " : "") + (injected ? "injected" : "");
  const node = make("span", undefined, names);
  const parts = gold && span.kind === "information" ? span.text.split(gold) : [span.text];
  node.append(...parts.map((part, index) => index % 2 ? make("mark", part) : part));
  return node;
}
function blocks(t) {
  const gold = golds(t), made = [];
  let block = null, kind = null, call = null;
  for (const span of t.spans) {
    // White space between blocks is no block of its own.
    if (!span.text || (span.kind === "text" && !span.text.trim())) continue;
    if (span.kind !== kind || span.call !== call) {
      block = make("div", undefined, "block " + span.kind);
      block.append(make("b", span.kind === "text" ? "outside the tags" : span.kind));
      made.push(block); kind = span.kind; call = span.call;
    }
    block.append(written(span, gold));
  }
  return [...made, ...t.notes.map(note => make("p", note, "soft"))];
}
function verdict(t) {
  const line = make("p");
  line.append(make("span", t.correct ? "right" : "wrong", t.correct ? "right" : "wrong"),
    ` · answer ${t.answer ?? "none"} · gold ${t.golden.join(", ")} · ${t.origin} · ${plain(t.group)}` +
    (t.reward == null ? "" : ` · reward ${t.reward.toFixed(2)}`) +
    (t.advantage == null ? "" : ` · ${signed(t.advantage)} against its group`) + (t.stopped ? " · " + t.stopped : ""));
  return line;
}
function alone(t) {
  const nodes = [verdict(t)];
  if (t.failed) nodes.push(make("p", `failed: ${t.failed}`, "failed"));
  return [...nodes, ...blocks(t)];
}
/* Everything that answers the same question: the samples of its group, and other evaluations. */
function sideBySide(t) {
  const every = beside.get(t.asked).map(index => all[index]);
  every.sort((a, b) => (b.member === t.member && b.origin === t.origin) - (a.member === t.member && a.origin === t.origin));
  const members = every.slice(0, COLUMNS), row = make("div", undefined, "together");
  row.tabIndex = 0; row.setAttribute("role", "group"); row.setAttribute("aria-label", "trajectories of this question, side by side");
  row.append(...members.map(member => {
    const column = make("section");
    column.append(make("h4", `${member.origin}${member.reward == null ? "" : ` · reward ${member.reward.toFixed(2)}`}`));
    if (member.advantage != null) {
      const bar = make("div", undefined, "bar" + (member.advantage < 0 ? " below" : ""));
      bar.style.width = `${Math.min(100, 100 * Math.abs(member.advantage))}%`;
      column.append(bar, make("p", `advantage ${signed(member.advantage)} (reward less the mean of its group)`, "soft"));
    }
    const parts = Object.entries(member.parts).map(([name, value]) => `${name} ${Number(value).toFixed(2)}`).join(", ");
    column.append(...alone(member), make("p", parts, "soft"));
    return column;
  }));
  const shown = members.length < every.length ? `, the first ${members.length} shown` : "";
  return [make("p", `${every.length} trajectories of this question${shown}`, "soft"), row];
}
function show(index) {
  const t = all[index], detail = element("detail");
  if (!t) return;
  chosen = index;
  const others = beside.get(t.asked).length, button = make("button", `side by side (${others})`, "plain");
  button.id = "together"; button.type = "button"; button.disabled = others < 2;
  button.setAttribute("aria-pressed", String(together && others > 1));
  button.onclick = () => { together = !together; go(index); element("together").focus(); };
  detail.replaceChildren(make("h3", t.question), button, ...(together && others > 1 ? sideBySide(t) : alone(t)));
  document.querySelectorAll(".item").forEach(item => mark(item, item.dataset.index === String(index)));
}
function mark(item, is) {
  item.classList.toggle("chosen", is);
  if (is) item.setAttribute("aria-current", "true"); else item.removeAttribute("aria-current");
}
function go(index) { show(index); history.replaceState(null, "", address(index)); }
function itemOf(index) {
  const t = all[index], item = make("button", undefined, "item");
  item.type = "button"; item.dataset.index = index; mark(item, index === chosen);
  const sign = make("span", t.correct ? "✓" : "✗", "mark " + (t.correct ? "right" : "wrong"));
  sign.setAttribute("role", "img"); sign.setAttribute("aria-label", t.correct ? "right" : "wrong");
  item.append(sign, t.question, make("small", `${t.origin} · ${plain(t.group)}` + (t.failed ? " · failed" : "")));
  item.onclick = () => go(index);
  return item;
}
function more() {
  element("more")?.remove();
  const next = found.slice(listed, listed + CHUNK);
  listed += next.length;
  element("list").append(...next.map(itemOf));
  if (listed < found.length) {
    const button = make("button", `show more (${(found.length - listed).toLocaleString("en")} left)`, "item");
    button.id = "more"; button.type = "button"; button.onclick = more;
    element("list").append(button);
  }
}
function list() {
  const [origin, group, is, calls, depth, needle] = controls.map(control => control.value);
  const wanted = needle.toLowerCase();
  found = all.map((t, index) => index).filter(index => {
    const t = all[index];
    return (!origin || t.origin === origin) && (!group || t.group === group) &&
      (!is || (is === "failed" ? t.failed != null : (is === "right") === t.correct)) &&
      (calls === "" || t.calls === Number(calls)) && (depth === "" || t.depth === Number(depth)) &&
      (!wanted || text(t).includes(wanted));
  });
  element("list").replaceChildren(); listed = 0;
  more();
  if (!found.length) element("list").append(make("p", "nothing matches", "soft"));
  element("count").textContent = `${found.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} trajectories`;
  return found;
}
function address(index) {
  const parameters = new URLSearchParams(controls.filter(c => c.value).map(c => [c.id, c.value]));
  if (index != null) parameters.set("show", all[index].id);
  if (together) parameters.set("view", "together");
  return "#" + parameters;
}
function follow() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  controls.forEach(control => { control.value = wanted.get(control.id) ?? ""; });
  together = wanted.get("view") === "together";
  list();
  const named = wanted.get("show"), index = place.get(named) ?? (named != null && all[Number(named)] ? Number(named) : found[0]);
  if (index != null) show(index);
}
function step(by) {
  const at = found.indexOf(chosen), next = found[Math.max(0, Math.min(found.length - 1, at + by))];
  if (next == null) return;
  while (found.indexOf(next) >= listed) more();
  go(next);
  document.querySelector(`.item[data-index="${next}"]`)?.scrollIntoView({ block: "nearest" });
}
controls.forEach(control => {
  control.oninput = () => { const there = list(); history.replaceState(null, "", address()); if (there.length) show(there[0]); };
});
addEventListener("hashchange", follow);
addEventListener("keydown", event => {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement?.tagName);
  if (event.key === "Escape" && typing) document.activeElement.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = { j: () => step(1), k: () => step(-1), g: () => element("together")?.click(), "/": () => element("needle").focus() }[event.key];
  if (act) { event.preventDefault(); act(); }
});
follow();
