// Rewards as ranked bars, and the probability that each answer beats each other one.

import { made, styled } from "./elements.js";
import { agreement, beats, letter, percent, ranked, ranks, scaleOf, short } from "./ranking.js";
import { count, say } from "./words.js";

/** What is shown of the answers of one model or two: `[{model, answer}]`, and the answers' texts. */
export function shown(found, texts) {
  const several = found.length > 1;
  const parts = found.map(({ model, answer }) => panel(model, answer, texts, several));
  const grid = made("div", { class: several ? "panels two" : "panels" }, ...parts);
  return [several ? comparison(found) : null, grid].filter(Boolean);
}

function comparison(found) {
  const [first, second] = found.map(({ answer }) => answer.rewards);
  const { same, of } = agreement(first, second);
  const told = of ? say("agree", { count: count(same), of: count(of) }) : "";
  const [best, other] = [first, second].map((rewards) => letter(ranked(rewards)[0]));
  const names = { first: found[0].model, second: found[1].model };
  const firsts = best === other ? say("same_first", { letter: best }) : say("other_first", { ...names, letter: best, other });
  return made("p", { class: "told" }, of ? `${told} ${firsts}` : "");
}

function panel(model, answer, texts, several) {
  const order = ranked(answer.rewards);
  const scale = scaleOf(answer.rewards, answer.uncertainty);
  const rank = ranks(answer.rewards);
  const rows = order.map((place) => bar(answer, place, rank[place], scale, texts[place]));
  const parts = [made("ol", { class: "ranking" }, ...rows), ends(scale)];
  if (order.length > 1) parts.push(lead(answer.rewards, order));
  if (order.length > 1) parts.push(matrix(answer.rewards, order));
  const warnings = (answer.warnings ?? []).map((text) => made("p", { class: "warning", lang: "en", dir: "ltr" }, text));
  const title = several ? made("h3", {}, made("bdi", {}, model)) : null;
  return made("article", { class: "panel", "aria-label": model }, ...[title, ...warnings, ...parts].filter(Boolean));
}

function bar(answer, place, rank, scale, text) {
  const reward = answer.rewards[place];
  const spread = answer.uncertainty?.[place] ?? null;
  const [from, to] = [scale.at(scale.base), scale.at(reward)].sort((a, b) => a - b);
  const track = made("div", { class: "track", "aria-hidden": "true" });
  track.append(styled(made("div", { class: reward < scale.base ? "bar below" : "bar" }), { "--from": from, "--to": to }));
  if (scale.base === 0) track.append(styled(made("div", { class: "zero" }), { "--at": scale.at(0) }));
  if (spread !== null) {
    track.append(styled(made("div", { class: "spread" }), { "--from": scale.at(reward - spread), "--to": scale.at(reward + spread) }));
  }
  const facts = [
    made("span", {}, say("tokens", { count: count(answer.tokens[place]) })),
    answer.truncated[place] ? made("span", { class: "badge", title: say("cut_note") }, say("cut")) : null,
  ].filter(Boolean);
  const head = made(
    "div", { class: "head" },
    made("span", { class: "rank" }, String(rank)),
    made("span", { class: "letter" }, made("span", { class: "unseen" }, say("answer", { letter: "" })), letter(place)),
    made("span", { class: "reward", title: String(reward) }, short(reward)),
    spread === null ? null : made("span", { class: "soft", title: say("uncertainty_note") }, say("uncertainty", { value: short(spread) })),
    made("span", { class: "facts soft" }, ...facts),
  );
  const words = made("p", { class: text ? "words" : "words soft", dir: "auto" }, text || say("empty"));
  return made(
    "li", { class: "ranked", "data-answer": letter(place) }, head, track, words,
    ratings(answer.components?.[place]),
  );
}

function ratings(found) {
  if (!found) return null;
  const pairs = Object.entries(found).map(([name, value]) =>
    made("div", {}, made("dt", {}, made("bdi", {}, name)), made("dd", { title: String(value) }, short(value))));
  return made("dl", { class: "values", "aria-label": say("components") }, ...pairs);
}

function ends(scale) {
  const told = say("scale", { low: short(scale.low), high: short(scale.high) });
  const zero = scale.base === 0 && scale.low < 0 && scale.high > 0;
  const between = zero && scale.at(0) > 0.12 && scale.at(0) < 0.88;
  return made(
    "div", { class: "ends soft" }, made("span", { class: "unseen" }, told),
    made("span", { "aria-hidden": "true" }, short(scale.low)),
    between ? styled(made("span", { class: "at", "aria-hidden": "true" }, "0"), { "--at": scale.at(0) }) : null,
    made("span", { "aria-hidden": "true" }, short(scale.high)),
  );
}

function lead(rewards, [best, next]) {
  const share = percent(beats(rewards[best], rewards[next]));
  return made("p", { class: "told" }, say("beats", { first: letter(best), second: letter(next), share }));
}

function matrix(rewards, order) {
  const head = made("tr", {}, made("td"), ...order.map((place) => made("th", { scope: "col" }, letter(place))));
  const rows = order.map((row) =>
    made("tr", {}, made("th", { scope: "row" }, letter(row)), ...order.map((column) => {
      if (row === column) return made("td", { class: "same" }, "·");
      const share = beats(rewards[row], rewards[column]);
      return styled(made("td", {}, percent(share)), { "--share": share });
    })));
  const table = made("table", { class: "matrix", "aria-label": say("matrix") }, made("thead", {}, head), made("tbody", {}, ...rows));
  return made(
    "div", {}, made("p", { class: "note" }, say("matrix")),
    made("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": say("matrix") }, table),
  );
}
