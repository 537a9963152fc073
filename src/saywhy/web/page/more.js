// What else may be asked of the same picture: another class, where a phrase is, which caption fits.

import { fill, make, percent, track } from "./dom.js";
import { figure } from "./picture.js";

/**
 * explained: the answer so far. model: as /api/options describes it.
 * again(fields): ask for another explanation of the same picture. ask(path, fields): the last line of an answer.
 */
export function more(explained, model, again, ask) {
  return make("div", { class: "more-parts" }, another(explained, model, again), phrase(model, ask), captions(model, ask));
}

function another(explained, model, again) {
  const { predictions, target } = explained.shown;
  const best = predictions.map((one) => one.name);
  const options = (chosen) => {
    const select = make("select");
    fill(select, [...best, ...model.classes.filter((one) => !best.includes(one)).sort((a, b) => a.localeCompare(b))], chosen);
    return select;
  };
  const why = options(target.name);
  const not = options(explained.shown.against?.other.name ?? best.find((one) => one !== target.name) ?? null);
  const said = make("p", { class: "failed", role: "alert", hidden: true });
  return make(
    "form",
    {
      class: "card",
      id: "another",
      onsubmit: (event) => {
        event.preventDefault();
        said.hidden = why.value !== not.value;
        said.textContent = "Choose two different classes.";
        if (said.hidden) again({ target: why.value, against: not.value });
      },
    },
    make("h3", {}, "Why this class and not that one?"),
    make("div", { class: "row" }, make("label", {}, "Why ", why), make("label", {}, "and not ", not), make("button", {}, "Ask")),
    said,
    make("p", { class: "note" }, "Looks for the least change of the picture that makes the other class of it."),
  );
}

function phrase(model, ask) {
  const out = make("div", { "aria-live": "polite" });
  const field = make("input", { type: "text", maxlength: 200, required: true, placeholder: "a red beak", autocomplete: "off", spellcheck: "true" });
  return make(
    "form",
    {
      class: "card",
      id: "phrase",
      onsubmit: async (event) => {
        event.preventDefault();
        const answer = await ask("/api/heatmaps", { phrase: field.value.trim() });
        if (answer) out.replaceChildren(found(answer.heatmap));
      },
    },
    make("h3", {}, "Where is it?"),
    ready(model) ?? [make("div", { class: "row" }, make("label", { class: "wide" }, "Anything in words ", field), make("button", {}, "Show where")), out],
  );
}

function found(map) {
  const view = {
    picture: map.picture,
    map: map.heatmap,
    frame: map.frame,
    cropped: map.cropped,
    alt: `Where “${map.phrase}” is`,
    legend: [`speaks for “${map.phrase}”`, "speaks against it"],
  };
  return make(
    "div",
    { class: "found" },
    figure(view),
    make("div", {}, make("p", {}, make("b", {}, map.phrase)), make("p", {}, map.said), make("p", { class: "note" }, `The opinion of: ${map.space}.`)),
  );
}

function captions(model, ask) {
  const out = make("div", { "aria-live": "polite" });
  const field = make("textarea", { rows: 4, required: true, placeholder: "a cup of coffee\na cup of tea\nan empty table" });
  return make(
    "form",
    {
      class: "card",
      id: "captions",
      onsubmit: async (event) => {
        event.preventDefault();
        const answer = await ask("/api/captions", { captions: field.value.split("\n").map((one) => one.trim()).filter(Boolean) });
        if (answer) out.replaceChildren(fits(answer.captions));
      },
    },
    make("h3", {}, "Which caption fits?"),
    ready(model) ?? [make("label", { class: "wide" }, "Captions of your own, one on each line ", field), make("button", {}, "Compare"), out],
  );
}

function fits(found) {
  const best = Math.max(...found.captions.map((one) => one.share));
  return make(
    "div",
    { class: "fits" },
    found.captions.map((one) =>
      make(
        "div",
        { class: "said" },
        one.share === best ? make("b", {}, one.text) : make("span", {}, one.text),
        track(one.share),
        make("span", { class: "n" }, percent(one.share)),
        make("span", { class: "note" }, one.unusual === null ? "" : `${one.fits ? "stands out" : "does not stand out"} (${one.unusual < 0 ? "−" : "+"}${Math.abs(one.unusual).toFixed(1)} sd)`),
      ),
    ),
    make("p", { class: "note" }, `${found.meaning} The opinion of: ${found.space}.`),
  );
}

/** Why a model takes no phrases, as a paragraph; null where it does. */
const ready = (model) => (model.phrases ? null : make("p", { class: "note" }, `${model.why_no_phrases}`));
