// What stands beside the pictures: the keys, and how the learner fares.

export function showKeys(box, classes, classKeys) {
  const lines = [
    ...classes.slice(0, classKeys.length).map((name, c) => [classKeys[c], name]),
    ["0", "shows none of them"],
    ["Space", "unsure: asked again at the end"],
    ["Enter", "save, next picture"],
    ["u or Ctrl+Z", "undo the last answer"],
    ["←  →", "back to what is answered, and forward"],
    ["z", "every pixel; scroll or drag"],
    ["d", "near-duplicates get the same label"],
    ["g", "grid of look-alikes"],
    ["arrows, Space, a", "in a grid: move, select, select all or none"],
    ["l", "look again at labels that the learner contradicts"],
    ["p", "show what the learner expects (it is noted that you asked)"],
  ];
  box.replaceChildren(
    ...lines.map(([keys, what]) => {
      const line = document.createElement("div");
      const key = document.createElement("kbd");
      key.textContent = keys;
      line.append(key, ` ${what}`);
      return line;
    }),
  );
}

export function showLearner(box, state) {
  const learner = state.learner;
  const parts = [heading("The learner")];
  if (!learner) parts.push(line("Off: pictures are drawn at random."));
  else parts.push(line(learner.status), ...scores(learner, state.classes), ...forecasts(learner));
  parts.push(line(`Every ${ordinal(state.share)} picture is drawn at random: the fair sample, on which F1 is measured.`));
  parts.push(line(`Answers are in ${state.out}`));
  box.replaceChildren(...parts);
}

function scores(learner, classes) {
  if (!learner.f1?.length) return [];
  const table = document.createElement("table");
  table.append(row("thead", "th", ["", "F1", "labelled"]));
  const body = document.createElement("tbody");
  classes.forEach((name, c) => body.append(row(null, "td", [name, fixed(learner.f1[c]), learner.positives[c]])));
  body.append(row(null, "td", ["macro", fixed(learner.macro_f1), learner.n_labels]));
  table.append(body);
  const sample = learner.is_fair ? "pictures of the fair sample" : "labelled pictures; too high, for the fair sample is small yet";
  return [line(`F1 out of fold on ${learner.n_fair} ${sample}:`), table];
}

function forecasts(learner) {
  if (!learner.forecast?.length) return [];
  return [heading("Would more labels help?"), ...learner.forecast.map(line)];
}

function row(part, cell, values) {
  const element = document.createElement("tr");
  values.forEach((value, i) => {
    const one = document.createElement(i === 0 || cell === "th" ? "th" : "td");
    one.scope = cell === "th" ? "col" : "row";
    if (one.tagName === "TD") one.removeAttribute("scope");
    one.textContent = value;
    element.append(one);
  });
  if (!part) return element;
  const whole = document.createElement(part);
  whole.append(element);
  return whole;
}

function fixed(value) {
  return value === null ? "–" : value.toFixed(2);
}

function ordinal(n) {
  return n === 1 ? "" : n === 2 ? "2nd" : n === 3 ? "3rd" : `${n}th`;
}

function heading(text) {
  const element = document.createElement("h2");
  element.textContent = text;
  return element;
}

function line(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}
