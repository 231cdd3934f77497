// A dropped file: its rows one by one in the form, or all of them scored in one table.

import { find, made } from "./elements.js";
import { beats, letter, percent, ranked, short } from "./ranking.js";
import { rowsOf } from "./rows.js";
import { count, say } from "./words.js";

const MOST_MB = 20;

/** The part of the page that reads files; `fill` shows a row, `score` gives its rewards. */
export function makeFiled({ fill, score, announce, failed }) {
  const place = find("rows-read");
  let file = null;
  let rows = [];
  let left = [];
  let at = 0;
  let results = [];
  let running = null;

  async function take(chosen) {
    if (!chosen) return;
    running?.abort();
    running = null;
    [file, rows, left, at, results] = [chosen.name, [], [], 0, []];
    if (chosen.size > MOST_MB * 2 ** 20) {
      place.replaceChildren(made("p", { class: "warning" }, say("too_large", { file, most: MOST_MB })));
      return;
    }
    ({ rows, left } = rowsOf(await chosen.text()));
    draw();
    if (rows.length) go(0);
    announce(place.querySelector("p").textContent);
  }

  function go(to) {
    at = Math.min(Math.max(to, 0), rows.length - 1);
    fill(rows[at]);
    draw();
  }

  function step(sign, key, by) {
    const react = () => {
      go(at + by);
      const again = place.querySelector(`[data-by="${by}"]`);
      (again.disabled ? place.querySelector("[data-by]:not(:disabled)") ?? again : again).focus();
    };
    const disabled = rows[at + by] === undefined;
    return made("button", { type: "button", class: "plain small", "data-by": by, disabled, "aria-label": say(key), title: say(key), on: { click: react } }, sign);
  }

  function draw() {
    if (file === null) return;
    const parts = [];
    if (!rows.length) parts.push(made("p", { class: "warning" }, say("no_rows", { file })));
    else parts.push(made("p", {}, say("rows_read", { file, count: count(rows.length) })));
    if (left.length) {
      const [{ line, why }] = left;
      parts.push(made("p", { class: "note" }, say("rows_left", { count: count(left.length), line: count(line), why: say(why) })));
    }
    if (rows.length) {
      const told = say("row_of", { number: count(at + 1), count: count(rows.length) });
      const all = running
        ? made("button", { type: "button", on: { click: () => running.abort() } }, say("stop"))
        : made("button", { type: "button", on: { click: scoreAll } }, say("score_all"));
      all.id = "score-all";
      parts.push(made("p", { class: "buttons" }, step("←", "row_before", -1), made("span", { id: "row-at" }, told), step("→", "row_next", 1), all));
    }
    if (results.length) parts.push(...table());
    place.replaceChildren(...parts);
  }

  async function scoreAll() {
    const stopping = new AbortController();
    running = stopping;
    results = [];
    draw();
    find("score-all").focus();
    try {
      for (const [number, row] of rows.entries()) {
        if (stopping.signal.aborted) break;
        announce(say("scoring_row", { number: count(number + 1), count: count(rows.length) }));
        const { rewards } = await score(row, stopping.signal);
        if (running !== stopping) return; // Another file has come.
        results.push({ row, rewards });
      }
    } catch (error) {
      if (running !== stopping) return;
      if (error.name !== "AbortError") {
        go(results.length);
        failed(error);
      }
    }
    running = null;
    draw();
    find("score-all").focus();
    announce(say(results.length === rows.length ? "all_scored" : "stopped", { count: count(results.length) }));
  }

  function table() {
    const pairs = results.filter(({ row }) => row.isPair);
    const right = pairs.filter(({ rewards: [chosen, rejected] }) => chosen > rejected).length;
    const columns = ["column_row", "column_best", "column_reward", "column_lead", ...(pairs.length ? ["column_chosen"] : [])];
    const body = results.map(({ row, rewards }, number) => {
      const [best, next] = ranked(rewards);
      const show = made("button", { type: "button", class: "plain small", "aria-label": say("row_of", { number: number + 1, count: rows.length }), on: { click: () => go(number) } }, String(number + 1));
      const lead = next === undefined ? "–" : percent(beats(rewards[best], rewards[next]));
      const won = pairs.length ? made("td", {}, row.isPair ? say(rewards[0] > rewards[1] ? "yes" : "no") : "–") : null;
      return made("tr", {}, made("th", { scope: "row" }, show), made("td", {}, letter(best)), made("td", {}, short(rewards[best])), made("td", {}, lead), won);
    });
    const head = made("tr", {}, ...columns.map((key) => made("th", { scope: "col" }, say(key))));
    const made_ = made(
      "div", { class: "scroll tall", role: "region", tabindex: "0", "aria-label": say("table_rows") },
      made("table", {}, made("caption", {}, made("span", {}, say("table_rows"))), made("thead", {}, head), made("tbody", {}, ...body)),
    );
    const told = pairs.length ? made("p", { class: "told" }, say("chosen_first", { count: count(right), of: count(pairs.length) })) : null;
    const save = made("button", { type: "button", on: { click: download } }, say("download"));
    return [told, made_, made("p", { class: "buttons" }, save)].filter(Boolean);
  }

  function download() {
    const lines = results.map(({ row: { messages, answers }, rewards }) => `${JSON.stringify({ messages, responses: answers, rewards })}\n`);
    const address = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
    made("a", { href: address, download: `${file.replace(/\.\w+$/, "")}-rewards.jsonl` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  return { take, draw };
}
