// The page: which picture is asked about, one question at a time, and its answer.

import { ask as askServer, read } from "./api.js";
import { audit } from "./audit.js";
import { by, fill, make, tell } from "./dom.js";
import { explanation } from "./explanation.js";
import { more } from "./more.js";

const CHECKS = { none: "nothing (quickest)", fast: "what is claimed", full: "what is claimed, with more controls (slowest)" };

let options = null;
let source = null; // {picture: File} or {example: id}
let running = null; // the AbortController of the question that is being answered

start();

async function start() {
  by("cancel").addEventListener("click", cancel);
  by("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address says which part of the page is shown
    by("main").focus();
  });
  addEventListener("keydown", (event) => event.key === "Escape" && running && cancel());
  try {
    options = await read("/api/options");
  } catch (error) {
    problem(error.message);
    return;
  }
  by("foot").textContent = `saywhy ${options.version}. Pictures are sent to this server alone, held in memory, and not kept.`;
  fill(by("model"), options.models.map((one) => one.name));
  fill(by("checks"), options.checks.map((one) => [one, CHECKS[one] ?? one]), "fast");
  by("limits").textContent = `At most ${inMiB(options.max_bytes)} and ${Math.round(options.max_pixels / 1e6)} million pixels.`;
  by("model").addEventListener("change", offer);
  offer();
  takePictures();
  by("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    explain();
  });
  if (options.audit) {
    by("parts").hidden = false;
    by("to-audit").textContent = `Audit: ${options.audit.name}`;
  }
  addEventListener("hashchange", route);
  route();
}

/** Show the part of the page that the address names. */
function route() {
  const onAudit = Boolean(options.audit) && location.hash.startsWith("#audit");
  cancel();
  problem("");
  by("answer").replaceChildren();
  by("picture-part").hidden = onAudit;
  by("audit-part").hidden = !onAudit;
  by("to-picture").toggleAttribute("aria-current", !onAudit);
  by("to-audit").toggleAttribute("aria-current", onAudit);
  if (onAudit) {
    audit(by("audit-part"), location.hash.split("/").slice(1), {
      problem,
      explain: (number) => about({ audited: number, model: options.audit.model, checks: by("checks").value }),
    });
  }
}

const model = () => options.models.find((one) => one.name === by("model").value);

/** The words and the pictures of the gallery that go with the chosen model. */
function offer() {
  fill(by("vocabulary"), model().vocabularies.map((one) => [one, model().words[one]]));
  const pictures = options.gallery.filter((one) => !one.models.length || one.models.includes(model().name));
  by("gallery-part").hidden = pictures.length === 0;
  by("gallery").replaceChildren(
    ...pictures.map((one) =>
      make(
        "button",
        { type: "button", title: one.credit, "data-example": one.id, onclick: () => choose({ example: one.id }, one.name, exampleUrl(one.id)) },
        make("img", { src: exampleUrl(one.id), alt: "", loading: "lazy" }),
        make("span", {}, one.name),
      ),
    ),
  );
}

const exampleUrl = (id) => `/api/gallery/${encodeURIComponent(id)}.jpg`;

/** Pictures that are chosen, dropped anywhere on the page, or pasted. */
function takePictures() {
  const take = (files) => {
    const [file] = files;
    if (!file) return;
    const go = () => {
      choose({ picture: file }, file.name, URL.createObjectURL(file));
      if (files.length > 1) tell("One picture at a time: this is about the first.");
    };
    if (!location.hash.startsWith("#audit")) return go();
    addEventListener("hashchange", go, { once: true }); // after route, which ends what is asked
    location.hash = "#picture";
  };
  by("file").addEventListener("change", () => {
    take([...by("file").files]);
    by("file").value = "";
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
  const over = (on) => by("drop").classList.toggle("over", on);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
    else problem("That was not a file. Save the picture first, then drop its file here.");
  });
}

/** Ask about this picture from now on, and at once. */
function choose(chosen, name, url) {
  if (chosen.picture && chosen.picture.size > options.max_bytes) {
    const { name: file, size } = chosen.picture;
    problem(`${file} has ${inMiB(size)}, and at most ${inMiB(options.max_bytes)} are taken. Make it smaller first.`);
    return;
  }
  source = chosen;
  by("chosen").textContent = name;
  const preview = by("preview");
  if (preview.src.startsWith("blob:")) URL.revokeObjectURL(preview.src);
  preview.hidden = false;
  preview.onerror = () => (preview.hidden = true);
  preview.src = url;
  by("explain").disabled = false;
  for (const one of by("gallery").children) one.setAttribute("aria-pressed", String(one.dataset.example === chosen.example));
  explain();
}

function explain() {
  if (!source) return problem("Choose a picture first.");
  return about({ ...source, model: by("model").value, vocabulary: by("vocabulary").value, checks: by("checks").value });
}

/** Explain a picture, and offer to ask more of it. asked: the picture, the model and how: sent again with what more is asked. */
function about(asked) {
  const { model, picture, example, audited } = asked;
  const ask = (path, fields) => work(path, { model, picture, example, audited, ...fields });
  const again = (fields) => work("/api/explanations", { ...asked, ...fields }, (last) => renew(last.explanation));
  return work("/api/explanations", asked, ({ explanation: explained }) => {
    const offered = options.models.find((one) => one.name === model);
    by("answer").replaceChildren(explanation(explained), more(explained, offered, again, ask));
    arrive("verdict");
  });
}

/** Put another explanation of the same picture in the place of the one before; what more was asked stays. */
function renew(explained) {
  by("answer").firstElementChild.replaceWith(explanation(explained));
  arrive(explained.shown.against ? "against" : "verdict");
}

/** Take who reads the page, and who listens to it, to an answer: the element of that id says it. */
function arrive(id) {
  by(id).focus({ preventScroll: true });
  by(id).closest("section, article").scrollIntoView({ block: "start" });
  tell(`Done. ${by(id).textContent}`);
}

/** Ask one question, with its progress shown. done: is given the last line. Gives it too; null where there is none. */
async function work(path, fields, done = () => {}) {
  running?.abort();
  const own = new AbortController();
  running = own;
  problem("");
  progress({ state: "sending" });
  try {
    const last = await askServer(path, fields, (state) => running === own && progress(state), own.signal);
    if (running !== own) return null;
    done(last);
    return last;
  } catch (error) {
    if (!own.signal.aborted) problem(error.message);
    return null;
  } finally {
    if (running === own) {
      running = null;
      progress(null);
    }
  }
}

function cancel() {
  if (!running) return;
  running.abort();
  running = null;
  progress(null);
  tell("Cancelled.");
}

/** state: how the question stands; null: none is asked. */
function progress(state) {
  by("work").hidden = state === null;
  document.body.toggleAttribute("aria-busy", state !== null);
  if (state === null) return;
  const bar = by("progress");
  let said = "Sending the picture";
  bar.removeAttribute("value");
  if (state.state === "queued") said = state.position === 1 ? "Waiting: this is next" : `Waiting: place ${state.position} in the queue`;
  if (state.state === "running") {
    said = `${state.what[0].toUpperCase()}${state.what.slice(1)} (${Math.min(state.done + 1, state.total)} of ${state.total})`;
    bar.max = state.total;
    bar.value = state.done;
  }
  if (by("what").textContent !== said) tell(said);
  by("what").textContent = said;
}

function problem(text) {
  by("problem").hidden = !text;
  by("problem").textContent = text;
}

const inMiB = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MiB`;
