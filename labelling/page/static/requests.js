// Requests to the server. An answer is sent until the server confirms it, under the same id, so that
// a server that was killed and started again gets it once.

const tab = sessionStorage.getItem("tab") ?? crypto.randomUUID();
sessionStorage.setItem("tab", tab);

const SLOWEST = 3000; // milliseconds between two tries

export class Refused extends Error {}

let onTrouble = () => {};
export function listenForTrouble(listener) {
  onTrouble = listener;
}

export async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Refused(await explanation(response));
  return response.json();
}

export async function post(path, body) {
  const request = { method: "POST", body: JSON.stringify({ tab, ...body }) };
  for (let wait = 250; ; wait = Math.min(2 * wait, SLOWEST)) {
    try {
      const response = await fetch(path, request);
      if (!response.ok) throw new Refused(await explanation(response));
      onTrouble("");
      return response.json();
    } catch (error) {
      if (error instanceof Refused) throw error;
      onTrouble("No connection to label.py. What you have answered is kept here and sent once it runs again.");
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

export function release() {
  navigator.sendBeacon("release", JSON.stringify({ tab }));
}

export function pictureAddress(card, kind) {
  return `images/${card.row}/${kind}`;
}

async function explanation(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error;
  } catch {
    return text;
  }
}
