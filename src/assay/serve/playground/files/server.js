// Asking the server, and what it says where it refuses. Paths are relative: a proxy may add a prefix.

import { say } from "./words.js";

/** A refusal: the message, the field of the body that it is about, the status (0: no answer). */
export class Failure extends Error {
  constructor(message, field = null, status = 0) {
    super(message);
    this.field = field;
    this.status = status;
  }
}

async function asked(path, key, options = {}) {
  const headers = { ...options.headers };
  if (key) headers.Authorization = `Bearer ${key}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(say("unreachable"));
  }
  let body = null;
  try {
    body = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // Something between here and the server may answer with a page of its own.
  }
  if (answer.ok && body) return body;
  const told = body?.error;
  const message = typeof told === "string" ? told : told?.message;
  throw new Failure(
    message ?? say("answered", { status: answer.status }), told?.param ?? null, answer.status || 1,
  );
}

/** The served models. */
export async function models(key) {
  return (await asked("v1/models", key)).data;
}

/** The body of a request for rewards. */
export function bodyOf(model, messages, responses) {
  return { model, messages, responses };
}

/** Rewards of a body. */
export async function rewards(body, key, signal) {
  const headers = { "Content-Type": "application/json" };
  return asked("v1/reward", key, { method: "POST", headers, body: JSON.stringify(body), signal });
}
