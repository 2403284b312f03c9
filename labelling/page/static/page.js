// The page: which pictures are on the stage, what is marked, and what the keys do.

import { get, listenForTrouble, pictureAddress, post, Refused, release } from "./requests.js";
import { showKeys, showLearner } from "./panels.js";
import { openReview } from "./review.js";

const AHEAD = 4; // pictures loaded beside the one that is shown
const IN_GRID = 12;
const REFRESH = 2500; // milliseconds between two looks at how the learner fares
const CLASS_KEYS = [..."123456789bcefhijkmnoqrstvwxy"]; // the other letters do something else

const $ = (id) => document.getElementById(id);

let classes = [];
let ahead = []; // handed out, and not shown yet
let cards = []; // on the stage; in a grid all of them, else one
let selected = new Set(); // rows of those that the marks are for
let marks = null; // 0 or 1 for each class; null: nothing is marked, not even "none"
let grid = false;
let reviewing = false;
let past = []; // answered pictures, the newest first, while one looks back
let place = -1; // in `past`; -1: at the front
let shownAt = 0;
let guessed = false; // whether the learner's guess for this picture was asked for
let busy = false;
const waiting = []; // what keys asked for while a request was under way
const loaded = new Map(); // row -> image element that is being loaded

// --- what is shown -----------------------------------------------------------------------------

function say(text) {
  $("announce").textContent = text;
}

function image(card, kind = "picture") {
  const key = `${card.row}/${kind}`;
  if (!loaded.has(key)) {
    const element = new Image();
    element.decoding = "async";
    element.alt = `Picture ${card.name}`;
    element.src = pictureAddress(card, kind);
    loaded.set(key, element);
    if (loaded.size > 60) loaded.delete(loaded.keys().next().value);
  }
  return loaded.get(key);
}

function origin(card) {
  if (place >= 0) return card.fair ? "answered before; in the fair sample" : "answered before";
  if (card.why === "random") return "drawn at random: counts for the fair sample";
  if (card.fair) return `chosen (${card.why}); in the fair sample as well`;
  return `chosen: ${card.why}`;
}

async function show(next, given = null) {
  cards = next;
  selected = new Set(cards.map((card) => card.row));
  marks = given;
  guessed = false;
  $("guess").hidden = true;
  $("pictures").className = grid ? "grid" : "single";
  setZoom(false);
  drawMarks();
  drawAlike();
  if (!cards.length) {
    $("pictures").replaceChildren();
    $("title").textContent = "Every picture has an answer. Stop label.py with Ctrl-C whenever you like.";
    say($("title").textContent);
    return;
  }
  if (grid) {
    const alike = cards.some((card) => card.why === "look-alike") ? " that look alike" : "";
    $("title").replaceChildren(bold(`${cards.length} pictures`), `${alike}. Marks are for those that are selected; the others stay.`);
    $("pictures").replaceChildren(...cards.map(tile));
  } else {
    const element = image(cards[0]);
    $("title").replaceChildren(bold(cards[0].name), ` · ${origin(cards[0])}`);
    try {
      await element.decode();
    } catch {
      $("title").append(" · this picture cannot be shown");
    }
    if (cards[0] !== next[0]) return;
    $("pictures").replaceChildren(element);
  }
  shownAt = performance.now();
  say(grid ? `${cards.length} pictures` : `${cards[0].name}, ${origin(cards[0])}`);
  for (const card of ahead) image(card, grid ? "thumbnail" : "picture");
}

function bold(text) {
  const element = document.createElement("strong");
  element.textContent = text;
  return element;
}

function tile(card) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "tile";
  button.dataset.row = card.row;
  button.setAttribute("aria-pressed", selected.has(card.row));
  const name = document.createElement("span");
  name.textContent = card.name;
  const picture = image(card, "thumbnail");
  picture.alt = "";
  button.append(picture, name);
  button.addEventListener("click", () => select(card.row, !selected.has(card.row)));
  return button;
}

function select(row, on) {
  if (on) selected.add(row);
  else selected.delete(row);
  for (const button of document.querySelectorAll(`.tile[data-row="${row}"]`)) button.setAttribute("aria-pressed", on);
}

function drawAlike() {
  const alike = (!grid && cards[0]?.alike) || [];
  $("alike").hidden = !alike.length;
  if (!alike.length) return;
  const all = document.createElement("button");
  all.type = "button";
  all.className = "wide";
  all.append(key("d"), ` Label ${alike.length} near-duplicate${alike.length > 1 ? "s" : ""} alike`);
  all.addEventListener("click", selectAlike);
  $("alike").replaceChildren(all, ...alike.map(tile));
}

function selectAlike() {
  const alike = cards[0]?.alike ?? [];
  const on = !alike.every((card) => selected.has(card.row));
  for (const card of alike) select(card.row, on);
  say(on ? `${alike.length} near-duplicates are selected as well` : "Near-duplicates are not selected");
}

function key(text) {
  const element = document.createElement("kbd");
  element.textContent = text;
  return element;
}

function makeClasses() {
  $("classes").replaceChildren(
    ...classes.map((name, c) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      if (CLASS_KEYS[c]) button.append(key(CLASS_KEYS[c]), " ");
      button.append(name);
      button.addEventListener("click", () => mark(c));
      return button;
    }),
  );
}

function drawMarks() {
  [...$("classes").children].forEach((button, c) => button.setAttribute("aria-pressed", marks?.[c] === 1));
  $("none").setAttribute("aria-pressed", marks !== null && !marks.includes(1));
  $("save").disabled = !cards.length;
}

function marked() {
  const names = classes.filter((_, c) => marks[c]);
  return names.length ? names.join(", ") : "none";
}

function setZoom(on) {
  $("zoom").setAttribute("aria-pressed", on);
  const box = $("pictures");
  box.classList.toggle("pixels", on);
  if (on) {
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "Picture at full size; arrow keys scroll");
  } else {
    for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
  }
}

async function zoom() {
  if (grid || !cards.length) return;
  const on = $("zoom").getAttribute("aria-pressed") !== "true";
  const shown = cards[0];
  const element = image(shown, on ? "pixels" : "picture");
  await element.decode().catch(() => {});
  if (cards[0] !== shown) return;
  setZoom(on);
  if (on) {
    const box = $("pictures");
    const times = Math.max(1, Math.ceil((1.5 * Math.min(box.clientWidth, box.clientHeight)) / Math.max(element.naturalWidth, element.naturalHeight)));
    element.style.width = `${element.naturalWidth * times}px`;
    say(`Each pixel is ${times} by ${times}`);
  }
  $("pictures").replaceChildren(element);
}

function drawCounts(counts) {
  const number = new Intl.NumberFormat("en").format;
  const parts = [`${number(counts.labelled)} labelled (${number(counts.fair)} of the fair sample)`, `${number(counts.remaining)} left`];
  if (counts.unsure) parts.push(`${number(counts.unsure)} unsure`);
  if (counts.left_out) parts.push(`${number(counts.left_out)} left out`);
  if (counts.per_minute) {
    parts.push(`${counts.per_minute.toFixed(counts.per_minute < 10 ? 1 : 0)} a minute`);
  }
  $("counts").textContent = parts.join(" · ");
}

// --- what one does -----------------------------------------------------------------------------

function mark(c) {
  if (!cards.length || c >= classes.length) return;
  marks = marks ? [...marks] : classes.map(() => 0);
  marks[c] = 1 - marks[c];
  if (!marks.includes(1)) marks = null; // "none" is said, and not left over
  drawMarks();
  say(`${classes[c]} ${marks?.[c] ? "marked" : "not marked"}`);
  if ($("quick").checked && marks) save();
}

function markNone() {
  if (!cards.length) return;
  marks = classes.map(() => 0);
  drawMarks();
  say("Shows none");
  if ($("quick").checked) save();
}

function save() {
  if (marks === null) {
    say("Nothing is marked: mark a class, or 0 for none.");
    $("title").replaceChildren(bold("Nothing is marked"), ": mark a class, or 0 if the picture shows none of them.");
    return;
  }
  answer(marks);
}

async function answer(label) {
  const shown = [...cards, ...(grid ? [] : (cards[0]?.alike ?? []).map((card) => ({ ...card, why: "duplicate" })))];
  const answered = shown.filter((card) => selected.has(card.row));
  if (busy || !answered.length) return;
  performance.mark("key");
  await working(async () => {
    const left = grid ? cards.filter((card) => !selected.has(card.row)) : [];
    const rest = place >= 0 ? [] : left;
    const body = {
      id: crypto.randomUUID(),
      rows: answered.map((card) => card.row),
      whys: answered.map((card) => card.why),
      label,
      seconds: (performance.now() - shownAt) / 1000,
      prediction_shown: guessed,
      held: [...ahead, ...rest].map((card) => card.row),
      n: grid ? 0 : Math.max(0, AHEAD + 1 - ahead.length),
    };
    const reply = await post("answer", body);
    ahead.push(...reply.cards);
    drawCounts(reply.counts);
    const said = label === null ? "Unsure" : `Saved: ${marked()}`;
    if (rest.length) await show(rest);
    else if (place >= 0) await forward();
    else await next();
    say(`${said}. ${$("announce").textContent}`);
    performance.measure("key to next picture", "key");
  });
}

async function next() {
  place = -1;
  if (grid) {
    const reply = await post("grid", { n: IN_GRID, held: ahead.map((card) => card.row) });
    await show(reply.cards);
  } else {
    if (!ahead.length) ahead.push(...(await post("next", { n: AHEAD + 1, held: [] })).cards);
    const card = ahead.shift();
    await show(card ? [card] : []);
  }
}

async function undo() {
  await working(async () => {
    const reply = await post("undo", {});
    drawCounts(reply.counts);
    if (!reply.cards.length) {
      say("There is nothing to undo.");
      return;
    }
    if (!grid && place < 0 && cards.length) ahead.unshift(cards[0]);
    place = -1;
    const [first, ...others] = reply.cards;
    const restored = grid ? reply.cards : [{ ...first, alike: others }];
    await show(restored, first.label);
    if (!grid && others.length) selectAlike();
    say(`Undone. ${$("announce").textContent}`);
  });
}

async function back() {
  if (grid) return;
  await working(async () => {
    if (place < 0) {
      past = (await get("history")).cards;
      if (past.length && cards.length) ahead.unshift(cards[0]);
    }
    if (place + 1 >= past.length) {
      say("There is nothing before this.");
      return;
    }
    place += 1;
    await show([past[place]], past[place].label);
  });
}

async function forward() {
  if (place < 0) return;
  place -= 1;
  if (place < 0) await next();
  else await show([past[place]], past[place].label);
}

async function toggleGrid() {
  if (reviewing) return;
  await working(async () => {
    if (!grid && place < 0 && cards.length) ahead.unshift(cards[0]);
    grid = !grid;
    $("grid").setAttribute("aria-pressed", grid);
    for (const id of ["back", "forward", "zoom", "predict"]) $(id).disabled = grid;
    await next();
  });
}

async function guess() {
  if (grid || !cards.length) return;
  await working(async () => {
    const shown = cards[0];
    const reply = await post("prediction", { row: shown.row });
    if (cards[0] !== shown) return;
    guessed = true;
    const known = reply.probabilities.length;
    $("guess").textContent = known
      ? classes.map((name, c) => `${name} ${Math.round(100 * reply.probabilities[c])} %`).join(", ")
      : "The learner has no guess for this picture yet.";
    $("guess").hidden = false;
    say($("guess").textContent);
  });
}

async function review() {
  await working(async () => {
    reviewing = !reviewing;
    $("again").setAttribute("aria-pressed", reviewing);
    $("answer").inert = reviewing;
    if (!reviewing) {
      await show(cards, marks);
      return;
    }
    $("alike").hidden = true;
    $("pictures").className = "grid";
    await openReview($("pictures"), $("title"), classes, say, (counts) => drawCounts(counts));
  });
}

async function working(work) {
  if (busy) return;
  busy = true;
  try {
    await work();
  } catch (error) {
    trouble(error instanceof Refused ? error.message : String(error));
    if (!(error instanceof Refused)) throw error;
  } finally {
    busy = false;
  }
  while (!busy && waiting.length) waiting.shift()();
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function moveFocus(step) {
  const tiles = [...document.querySelectorAll("#pictures .tile")];
  const at = tiles.indexOf(document.activeElement);
  const columns = getComputedStyle($("pictures")).gridTemplateColumns.split(" ").length;
  const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[step];
  tiles[at < 0 ? 0 : Math.min(tiles.length - 1, Math.max(0, at + move))]?.focus();
}

function selectAll() {
  if (!grid) return;
  const on = selected.size < cards.length;
  for (const card of cards) select(card.row, on);
  say(on ? "All are selected" : "None is selected");
}

const ACTIONS = {
  0: markNone,
  " ": () => answer(null),
  Enter: save,
  u: undo,
  z: zoom,
  p: guess,
  g: toggleGrid,
  l: review,
  d: selectAlike,
  a: selectAll,
  "?": toggleHelp,
  ArrowLeft: back,
  ArrowRight: () => working(forward),
};

function onKey(event) {
  const target = event.target;
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && pressed === "z" && !event.shiftKey) {
    event.preventDefault();
    undo();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isButton = target instanceof HTMLButtonElement || target instanceof HTMLInputElement;
  const isTile = isButton && target.classList.contains("tile");
  if (isButton && (pressed === " " || (pressed === "Enter" && !isTile))) return; // presses it
  if (pressed.startsWith("Arrow")) {
    if (target === $("pictures")) return; // scrolls it
    if (grid || reviewing) {
      event.preventDefault();
      moveFocus(pressed);
      return;
    }
  }
  if (reviewing && pressed !== "l" && pressed !== "?") return;
  const c = CLASS_KEYS.indexOf(pressed);
  const action = c >= 0 && c < classes.length ? () => mark(c) : ACTIONS[pressed];
  if (!action) return;
  event.preventDefault();
  if (event.repeat && !pressed.startsWith("Arrow")) return;
  if (busy) waiting.push(action);
  else action();
}

function toggleHelp() {
  const open = $("keys").hidden;
  $("keys").hidden = !open;
  $("help").setAttribute("aria-expanded", open);
}

async function refresh() {
  if (document.visibilityState === "visible" && !busy) {
    const state = await get("state").catch(() => null);
    if (state && !busy) {
      drawCounts(state.counts);
      showLearner($("learner"), state);
      $("again").disabled = !reviewing && !state.learner?.n_again;
    }
  }
  setTimeout(refresh, REFRESH);
}

// --- start -------------------------------------------------------------------------------------

function dragToScroll(box) {
  let from = null;
  box.addEventListener("pointerdown", (event) => {
    if (!box.classList.contains("pixels") || event.pointerType !== "mouse") return;
    event.preventDefault();
    from = { x: event.clientX + box.scrollLeft, y: event.clientY + box.scrollTop };
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    if (from) box.scrollTo(from.x - event.clientX, from.y - event.clientY);
  });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => (from = null));
}

const BUTTONS = { none: markNone, unsure: () => answer(null), save, undo, back, forward: () => working(forward), zoom, predict: guess, grid: toggleGrid, again: review, help: toggleHelp };

async function start() {
  listenForTrouble(trouble);
  for (const [id, action] of Object.entries(BUTTONS)) $(id).addEventListener("click", action);
  document.addEventListener("keydown", onKey);
  // Enter and Space press a button that has the focus; the mouse leaves it none.
  document.addEventListener("click", (event) => {
    if (event.detail > 0 && !event.target.closest?.("input")) document.activeElement?.blur();
  });
  window.addEventListener("pagehide", release);
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
  dragToScroll($("pictures"));
  $("quick").checked = localStorage.getItem("quick") === "yes";
  $("quick").addEventListener("change", () => localStorage.setItem("quick", $("quick").checked ? "yes" : "no"));
  await working(async () => {
    const state = await get("state");
    classes = state.classes;
    document.title = `Label ${state.pool}`;
    makeClasses();
    showKeys($("keys"), classes, CLASS_KEYS);
    drawCounts(state.counts);
    showLearner($("learner"), state);
    $("again").disabled = !state.learner?.n_again;
    await next();
  });
  refresh();
}

start();
