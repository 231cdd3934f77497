// The playground: what the buttons and keys do.

import { find, made } from "./elements.js";
import { makeFiled } from "./filed.js";
import { makeForm } from "./form.js";
import { letter, ranked } from "./ranking.js";
import { shown } from "./results.js";
import { bodyOf, Failure, models, rewards } from "./server.js";
import { curl, python } from "./snippets.js";
import { chosenLanguage, count, say, speak } from "./words.js";

const KEPT_KEY = "assay-key";
const status = find("status");
const failure = find("failure");
const form = makeForm({ changed: grewStale, announce });
const filed = makeFiled({ fill: form.fill, score: scoreRow, announce, failed: showFailure });
let served = [];
let last = null;
let lastStatus = () => say("start");
let asking = null;

function announce(text) {
  status.textContent = text;
}

function keepStatus(tell) {
  lastStatus = tell;
  announce(tell());
}

// Models and key -----------------------------------------------------------------------------

async function meet() {
  try {
    served = await models(find("key").value);
  } catch (error) {
    if (error.status === 401) askForKey();
    else showFailure(error);
    return;
  }
  failure.replaceChildren();
  const options = served.map(({ id }) => made("option", { value: id }, id));
  find("model").replaceChildren(...options);
  find("beside").replaceChildren(made("option", { value: "" }, say("none")), ...options.map((one) => one.cloneNode(true)));
  find("model-part").hidden = served.length < 2;
  about();
}

function about() {
  if (!served.length) return;
  find("about").textContent = served.length === 1
    ? say("served_one", { model: served[0].id })
    : say("served_several", { count: count(served.length) });
}

function askForKey({ focus = false } = {}) {
  find("key-part").hidden = false;
  keepStatus(() => say("needs_key"));
  if (focus) find("key").focus();
}

function chosen() {
  const names = [find("model").value || served[0]?.id];
  if (find("beside").value && find("beside").value !== names[0]) names.push(find("beside").value);
  return names;
}

// Scoring ------------------------------------------------------------------------------------

async function score() {
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  form.forgive();
  failure.replaceChildren();
  keepStatus(() => say("scoring"));
  find("results").setAttribute("aria-busy", "true");
  const [messages, answers, names] = [form.messages(), form.answers(), chosen()];
  const began = performance.now();
  try {
    const bodies = names.map((name) => bodyOf(name, messages, answers));
    const found = await Promise.all(bodies.map((one) => rewards(one, find("key").value, mine.signal)));
    last = { bodies, answers, found: found.map((answer) => ({ model: answer.model, answer })), seconds: (performance.now() - began) / 1000 };
    draw();
    keepStatus(tellBest);
    bringIntoView();
  } catch (error) {
    if (error.name !== "AbortError") showFailure(error);
  } finally {
    if (asking === mine) {
      asking = null;
      find("results").removeAttribute("aria-busy");
    }
  }
}

function tellBest() {
  const { found: [{ answer }], answers, seconds } = last;
  const values = { count: count(answers.length), seconds: seconds.toFixed(2) };
  if (answers.length === 1) return say("scored_one", values);
  const [best, next] = ranked(answer.rewards);
  if (answer.rewards[best] === answer.rewards[next]) return say("equal", values);
  return say("scored", { ...values, letter: letter(best) });
}

function draw() {
  if (!last) return;
  find("results").classList.remove("stale");
  find("ranked").replaceChildren(...shown(last.found, last.answers), code());
}

function bringIntoView() {
  const place = find("results");
  if (place.getBoundingClientRect().top > innerHeight - 120) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    place.scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  }
}

function grewStale() {
  if (!last || find("results").classList.contains("stale")) return;
  find("results").classList.add("stale");
  keepStatus(() => say("stale"));
}

async function scoreRow(row, signal) {
  const [name] = chosen();
  return rewards(bodyOf(name, row.messages, row.answers), find("key").value, signal);
}

function showFailure(error) {
  if (!(error instanceof Failure)) throw error;
  if (error.status === 401) askForKey({ focus: true });
  const item = form.blame(error.field, "failure");
  const field = error.field ? made("p", {}, say("field", { field: "" }), made("code", { dir: "ltr" }, error.field)) : null;
  failure.replaceChildren(made("div", { class: "failure" },
    made("p", {}, made("b", {}, error.status ? say("failed") : say("unreachable"))),
    ...(error.status ? [made("p", { lang: "en", dir: "ltr" }, error.message)] : []), ...(field ? [field] : [])));
  if (error.status !== 401) keepStatus(() => "");
  if (item && error.status !== 401) form.areaOf(item).focus();
}

// Code ---------------------------------------------------------------------------------------

function code() {
  const address = new URL("v1/reward", location.href).href;
  const hasKey = Boolean(find("key").value);
  const [one] = last.bodies;
  const entry = (key, text) => {
    const told = made("span", { role: "status" });
    const copy = made("button", { type: "button", on: { click: async () => {
      try {
        await navigator.clipboard.writeText(text);
        told.textContent = say("copied");
      } catch {
        told.textContent = say("not_copied");
      }
    } } }, say(key));
    const pre = made("pre", { tabindex: "0", lang: "en", dir: "ltr", "aria-label": say(key) }, text);
    return made("div", {}, made("p", { class: "buttons" }, copy, told), pre);
  };
  return made("details", { class: "code" }, made("summary", {}, say("code")),
    entry("copy_curl", curl(address, one, hasKey)), entry("copy_python", python(address, one, hasKey)));
}

// Keys, buttons, files -----------------------------------------------------------------------

function pressed(event) {
  if (event.isComposing) return; // Enter ends a word of an input method.
  const answer = form.answerInFocus();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) score();
  else if (event.altKey && !event.ctrlKey && event.code === "KeyN") addAnswer();
  else if (event.altKey && answer && event.key === "ArrowUp") form.move(answer, -1);
  else if (event.altKey && answer && event.key === "ArrowDown") form.move(answer, 1);
  else if (event.altKey && event.shiftKey && answer && event.key === "Backspace") form.removeAnswer(answer);
  else return;
  event.preventDefault();
}

function addTurn() {
  const roles = form.messages().map(({ role }) => role);
  form.addTurn(roles.at(-1) === "user" ? "assistant" : "user").focus();
  grewStale();
}

function addAnswer() {
  form.addAnswer().focus();
  grewStale();
}

function addSystem() {
  form.addTurn("system", "", { first: true }).focus();
  grewStale();
}

function example() {
  form.fill({
    messages: [{ role: "user", content: say("example_ask") }],
    answers: [say("example_bad"), say("example_good"), say("example_short")],
  });
  find("score").focus();
}

function clear() {
  form.fill({ messages: [{ role: "user", content: "" }], answers: ["", ""] });
  last = null;
  find("results").classList.remove("stale");
  find("ranked").replaceChildren();
  failure.replaceChildren();
  keepStatus(() => say("start"));
  form.areaOf(find("turns").firstElementChild).focus();
}

function talk(language, options) {
  speak(language, options);
  form.relabel();
  filed.draw();
  if (find("beside").options.length) find("beside").options[0].textContent = say("none");
  about();
  const isStale = find("results").classList.contains("stale");
  draw();
  find("results").classList.toggle("stale", isStale);
  announce(lastStatus());
}

function onFiles() {
  const over = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    find("rows").classList.add("over");
  };
  document.addEventListener("dragover", over);
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) find("rows").classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    find("rows").classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    filed.take(event.dataTransfer.files[0]);
  });
  find("file").addEventListener("change", () => {
    filed.take(find("file").files[0]);
    find("file").value = ""; // The same file can be chosen again.
  });
}

function keptKey(key) {
  try {
    if (key === undefined) return sessionStorage.getItem(KEPT_KEY) ?? "";
    sessionStorage.setItem(KEPT_KEY, key);
  } catch {
    // Then the key is asked for in each visit.
  }
  return key ?? "";
}

function begin() {
  form.fill({ messages: [{ role: "user", content: "" }], answers: ["", ""] });
  talk(chosenLanguage());
  find("key").value = keptKey();
  find("key-part").hidden = !find("key").value;
  find("key").addEventListener("change", () => {
    keptKey(find("key").value);
    meet();
  });
  find("form").addEventListener("submit", (event) => {
    event.preventDefault();
    score();
  });
  find("form").addEventListener("input", (event) => {
    event.target.removeAttribute("aria-invalid");
    if (event.target.matches("textarea, select")) grewStale();
  });
  find("add-turn").addEventListener("click", addTurn);
  find("add-system").addEventListener("click", addSystem);
  find("add-answer").addEventListener("click", addAnswer);
  find("example").addEventListener("click", example);
  find("clear").addEventListener("click", clear);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => talk(button.dataset.language, { keep: true }));
  }
  document.addEventListener("keydown", pressed);
  onFiles();
  keepStatus(() => say("start"));
  meet();
}

begin();
