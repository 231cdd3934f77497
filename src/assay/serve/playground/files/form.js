// The conversation and the answers: lists of text fields that can be added, moved and removed.

import { find, made } from "./elements.js";
import { letter } from "./ranking.js";
import { say } from "./words.js";

const ROLES = ["system", "user", "assistant"];
let numbered = 0;

function field(text) {
  numbered += 1;
  const area = made("textarea", { id: `field-${numbered}`, rows: 2, dir: "auto", spellcheck: "true" });
  area.value = text;
  return area;
}

function small(sign, react) {
  return made("button", { type: "button", class: "plain small", on: { click: react } }, sign);
}

/** The form; `changed` is told of every change, `announce` of what a screen reader should say. */
export function makeForm({ changed, announce }) {
  const turns = find("turns");
  const answers = find("answers");

  const turnItems = () => [...turns.children];
  const answerItems = () => [...answers.children];
  const areaOf = (item) => item.querySelector("textarea");

  function relabel() {
    turnItems().forEach((item, place) => {
      const number = place + 1;
      const role = item.querySelector("select");
      role.setAttribute("aria-label", say("role_of", { number }));
      for (const option of role.options) option.textContent = say(`role_${option.value}`);
      areaOf(item).setAttribute("aria-label", say("turn_text", { number }));
      areaOf(item).placeholder = role.value === "user" ? say("turn_hint") : "";
      const remove = item.querySelector("button");
      remove.setAttribute("aria-label", say("remove_turn", { number }));
      remove.title = say("remove_turn", { number });
      remove.hidden = turns.children.length === 1;
    });
    answerItems().forEach((item, place) => {
      const values = { letter: letter(place) };
      item.querySelector("label").textContent = say("answer", values);
      areaOf(item).placeholder = say("answer_hint");
      const [up, down, remove] = item.querySelectorAll("button");
      for (const [button, key] of [[up, "up"], [down, "down"], [remove, "remove_answer"]]) {
        button.setAttribute("aria-label", say(key, values));
        button.title = say(key, values);
      }
      up.disabled = place === 0;
      down.disabled = place === answers.children.length - 1;
      remove.hidden = answers.children.length === 1;
    });
  }

  function addTurn(role, text = "", { first = false } = {}) {
    const choice = made("select", { class: "role" }, ...ROLES.map((one) => made("option", { value: one }, one)));
    choice.value = ROLES.includes(role) ? role : "user";
    const area = field(text);
    const item = made("li", { class: "block" });
    const remove = small("✕", () => {
      const next = item.nextElementSibling ?? item.previousElementSibling;
      item.remove();
      relabel();
      changed();
      areaOf(next).focus();
    });
    item.append(made("div", { class: "head" }, choice, remove), area);
    choice.addEventListener("change", relabel);
    if (first) turns.prepend(item);
    else turns.append(item);
    relabel();
    return area;
  }

  function addAnswer(text = "") {
    const area = field(text);
    const item = made("li", { class: "block" });
    const tools = made(
      "span", { class: "tools" },
      small("↑", () => move(item, -1)), small("↓", () => move(item, 1)), small("✕", () => removeAnswer(item)),
    );
    item.append(made("div", { class: "head" }, made("label", { for: area.id }), tools), area);
    answers.append(item);
    relabel();
    return area;
  }

  function move(item, by) {
    const items = answerItems();
    const before = items.indexOf(item);
    const other = items[before + by];
    if (!other) return;
    const focused = document.activeElement;
    if (by < 0) other.before(item);
    else other.after(item);
    relabel();
    changed();
    (item.contains(focused) && !focused.disabled ? focused : areaOf(item)).focus();
    announce(say("moved", { before: letter(before), letter: letter(before + by) }));
  }

  function removeAnswer(item) {
    const items = answerItems();
    if (items.length === 1) return;
    const place = items.indexOf(item);
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    relabel();
    changed();
    areaOf(next).focus();
    announce(say("removed", { letter: letter(place) }));
  }

  /** The answer that the focus is in, if any. */
  function answerInFocus() {
    return answerItems().find((item) => item.contains(document.activeElement)) ?? null;
  }

  /** Mark the field that the server says is wrong; gives its item, or null where there is none. */
  function blame(name, id) {
    const [, list, number] = /^(messages|responses)(?:\[(\d+)\])?/.exec(name ?? "") ?? [];
    if (!list) return null;
    const items = list === "messages" ? turnItems() : answerItems();
    const item = items[Number(number ?? 0)];
    if (!item) return null;
    areaOf(item).setAttribute("aria-invalid", "true");
    areaOf(item).setAttribute("aria-describedby", id);
    return item;
  }

  function forgive() {
    for (const area of document.querySelectorAll("[aria-invalid]")) {
      area.removeAttribute("aria-invalid");
      area.removeAttribute("aria-describedby");
    }
  }

  function fill({ messages, answers: texts }) {
    turns.replaceChildren();
    answers.replaceChildren();
    for (const { role, content } of messages) addTurn(role, content);
    for (const text of texts) addAnswer(text);
    forgive();
    changed();
  }

  return {
    addTurn, addAnswer, move, removeAnswer, answerInFocus, blame, forgive, fill, relabel, areaOf,
    messages: () => turnItems().map((item) => ({ role: item.querySelector("select").value, content: areaOf(item).value })),
    answers: () => answerItems().map((item) => areaOf(item).value),
  };
}
