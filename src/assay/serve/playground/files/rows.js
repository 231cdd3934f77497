// Rows of a JSONL file: a conversation and answers that are texts. Other rows are left out and counted.

const PROMPTS = ["prompt", "question", "instruction", "input", "query"];
const LISTS = ["responses", "answers", "completions"];
const PAIRS = [["chosen", "rejected"], ["pos_resp", "neg_resp"], ["response_a", "response_b"]];

/** What a file holds: rows, and the lines that are left out, each with why (a key of words.js). */
export function rowsOf(text) {
  const rows = [];
  const left = [];
  text.split(/\r?\n/).forEach((line, place) => {
    if (!line.trim()) return;
    let value = null;
    try {
      value = JSON.parse(line);
    } catch {
      // Said below.
    }
    const found = value !== null && typeof value === "object" && !Array.isArray(value) ? rowOf(value) : "why_json";
    if (typeof found === "string") left.push({ line: place + 1, why: found });
    else rows.push({ ...found, line: place + 1 });
  });
  return { rows, left };
}

function rowOf(value) {
  const pair = PAIRS.find(([better, worse]) => better in value && worse in value);
  const list = LISTS.find((name) => Array.isArray(value[name]));
  let prompt = promptOf(value);
  let answers = null;
  if (pair) {
    answers = pair.map((name) => value[name]);
    if (!prompt) {
      const [better, worse] = answers;
      if (!Array.isArray(better) || !Array.isArray(worse)) return "why_prompt";
      prompt = messagesOf(better.slice(0, -1));
      answers = [better.slice(-1), worse.slice(-1)];
    } else if (answers.every((one) => Array.isArray(one) && one.length > 1)) {
      answers = answers.map((one) => one.slice(-1));
    }
  } else if (list) {
    answers = value[list];
  }
  if (!prompt?.length) return "why_prompt";
  const texts = answers?.map(textOf);
  if (!texts?.length || texts.some((text) => text === null)) return "why_answers";
  return { messages: prompt, answers: texts, isPair: pair !== undefined && pair[0] !== "response_a" };
}

function promptOf(value) {
  if (Array.isArray(value.messages)) return messagesOf(value.messages);
  for (const name of PROMPTS) {
    if (typeof value[name] === "string" && value[name].trim()) return [{ role: "user", content: value[name] }];
    if (Array.isArray(value[name])) return messagesOf(value[name]);
  }
  return null;
}

function messagesOf(list) {
  const fits = list.every((one) => typeof one?.content === "string" && typeof one?.role === "string");
  return fits ? list.map(({ role, content }) => ({ role, content })) : null;
}

function textOf(answer) {
  if (typeof answer === "string") return answer;
  const one = Array.isArray(answer) && answer.length === 1 ? answer[0] : answer;
  return typeof one?.content === "string" ? one.content : null;
}
