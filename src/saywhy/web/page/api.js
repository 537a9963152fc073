// What the server is asked. Every failure is an Error whose message is one line with what to do.

const GONE = "The server does not answer. Is saywhy serve still running? Then ask again.";

/** The JSON document at a path. */
export async function read(path, signal) {
  return (await reach(path, { signal })).json();
}

/**
 * Ask a question that takes a while.
 * fields: name -> text, file, or a list of texts; empty ones are left out.
 * hear:   is told of each state on the way: {state: "queued", position}, {state: "running", what, done, total}.
 * Gives the last line: {state: "done", ...}. To cancel, abort the signal: the server then gives up the place.
 */
export async function ask(path, fields, hear, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of [value].flat()) if (one) form.append(name, one);
  }
  const response = await reach(path, { method: "POST", body: form, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += value ?? "";
      const lines = rest.split("\n");
      rest = done ? "" : lines.pop();
      for (const line of lines.filter((one) => one.trim())) {
        const state = JSON.parse(line);
        if (state.state === "failed") throw new Refused(state.error);
        if (state.state === "done") return state;
        hear(state);
      }
      if (done) throw new Refused("The server stopped before it was done. Ask again.");
    }
  } catch (error) {
    if (error instanceof Refused || signal?.aborted) throw error;
    throw new Refused(GONE);
  }
}

class Refused extends Error {}

async function reach(path, how) {
  let response;
  try {
    response = await fetch(path, how);
  } catch (error) {
    if (how.signal?.aborted) throw error;
    throw new Refused(GONE);
  }
  if (response.ok) return response;
  if (response.status === 401) location.assign("/login");
  let said = "";
  try {
    said = (await response.json()).error;
  } catch {
    said = `The server refused this (${response.status}). Ask again, or reload the page.`;
  }
  throw new Refused(said);
}
