// Labels that the learner, out of fold, contradicts most: correct them with one click, or keep them.

import { pictureAddress, post } from "./requests.js";

export async function openReview(box, title, classes, say, onCounts) {
  const { entries } = await post("review", {});
  title.textContent = entries.length
    ? "The learner, which did not see these labels, contradicts them most. Correct what is wrong, keep what is right."
    : "There is nothing to look at again.";
  say(title.textContent);
  box.replaceChildren(...entries.map((entry) => card(entry, classes, say, onCounts)));
}

function card(entry, classes, say, onCounts) {
  const figure = document.createElement("figure");
  figure.className = "review";
  const picture = new Image();
  picture.alt = `Picture ${entry.name}`;
  picture.src = pictureAddress(entry, "thumbnail");
  const names = classes.filter((_, c) => entry.label[c]).join(", ") || "none";
  const name = classes[entry.class];
  const wrong = entry.label[entry.class] === 1;
  const caption = document.createElement("figcaption");
  caption.textContent = `${entry.name}: ${names}. The learner gives “${name}” ${Math.round(100 * entry.probability)} %.`;
  const corrected = entry.label.map((value, c) => (c === entry.class ? 1 - value : value));
  const done = (text, reply) => {
    figure.remove();
    say(text);
    onCounts(reply.counts);
  };
  figure.append(
    picture,
    caption,
    button(wrong ? `Correct: not ${name}` : `Correct: ${name}`, async () => {
      const body = { id: crypto.randomUUID(), rows: [entry.row], whys: ["again"], label: corrected };
      done("Corrected", await post("answer", { ...body, seconds: 0, prediction_shown: true, held: [], n: 0 }));
    }),
    button("Keep", async () => done("Kept", await post("keep", { row: entry.row, class_index: entry.class }))),
  );
  return figure;
}

function button(text, action) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.addEventListener("click", () => {
    element.disabled = true;
    action();
  });
  return element;
}
