// One explanation: the answer first, then where it looked, what is claimed, and the other classes.

import { emphasised, make, percent, place, tell, track } from "./dom.js";
import { crop, figure, named, png, small } from "./picture.js";

const USED = {
  "borne out": ["borne out", "it counts in the decision"],
  "not borne out": ["not borne out", "it was not shown to count"],
  "not testable": ["not testable", "whether it counts could not be tried"],
};

/** explained: what the server sends as "explanation". Gives an element whose heading may take the focus. */
export function explanation(explained) {
  const e = explained.shown;
  const view = {
    picture: e.picture,
    map: e.map,
    frame: e.frame,
    cropped: e.cropped,
    alt: `The picture ${e.name}`,
    legend: [`speaks for ${e.target.name}`, "speaks against it"],
    boxes: e.regions.map((one) => ({ box: one.box, colour: one.colour, number: one.number, name: named(one) })),
    boxesMean: "a region with much relevance",
  };
  return make(
    "article",
    { class: "card explanation", "aria-labelledby": "verdict" },
    make("div", { class: "name" }, `${e.name} · ${e.width} × ${e.height} · ${e.model}`),
    verdict(e),
    looked(e, view),
    claimed(e),
    considered(e),
    e.contrast && contrast(e),
    e.against && against(e),
    details(explained),
    links(explained, view),
  );
}

function verdict(e) {
  return make("div", {}, make("h2", { id: "verdict", tabindex: -1 }, emphasised(e.verdict)), short(e));
}

/** The answer in a few sentences, as every other output words it; the whole account stands below. */
function short(e) {
  const there = [e.told["What is there"], e.silence && `Not said: ${e.silence}.`].filter(Boolean).join(" ");
  const told = [["What decides", e.told["What decides"]], ["Where it looked", e.told.Where], ["What is there", there], ["How sure", e.told["How sure"]]];
  return make("dl", { class: "short" }, told.filter(([, text]) => text).map(([about, text]) => [make("dt", {}, about), make("dd", {}, emphasised(text))]));
}

/** The picture beside its regions: what is pointed at in one lights up in the other. */
function looked(e, view) {
  let picked = null;
  const part = make("div", { class: "looked" });
  const light = (number) => {
    for (const one of part.querySelectorAll("[data-region]")) {
      one.classList.toggle("lit", number !== null && one.dataset.region === String(number));
    }
    part.classList.toggle("some", number !== null);
  };
  const pick = (number) => {
    picked = picked === number ? null : number;
    for (const one of part.querySelectorAll(".region")) {
      const on = one.dataset.region === String(picked);
      one.querySelector("button").setAttribute("aria-expanded", String(on));
      one.querySelector(".more").hidden = !on;
    }
    light(picked);
    if (picked !== null) part.querySelector(`.region[data-region="${picked}"]`).scrollIntoView({ block: "nearest" });
  };
  const point = (number) => light(number ?? picked);
  const cards = e.regions.map((one) => card(one, e, pick, point));
  const list = make("ul", { class: "regions", "aria-label": "Regions" }, cards);
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const buttons = [...list.querySelectorAll("button")];
    const now = buttons.indexOf(document.activeElement);
    if (!step || now < 0) return;
    event.preventDefault();
    buttons[(now + step + buttons.length) % buttons.length].focus();
  });
  part.append(
    figure(view, { pick, point }),
    make("div", {}, make("h3", {}, "Where it looked"), e.regions.length ? list : make("p", { class: "note" }, `${e.no_region}.`)),
  );
  return part;
}

function card(one, e, pick, point) {
  const more = make(
    "div",
    { class: "more", id: `region-${one.number}`, hidden: true },
    one.test ? make("p", { class: "tested" }, outcome(one.test)) : make("p", { class: "note" }, "Whether the decision rests on it was not tested."),
    words(one.words),
  );
  const item = make(
    "li",
    { class: "region", "data-region": one.number },
    make(
      "button",
      {
        type: "button",
        "aria-expanded": "false",
        "aria-controls": more.id,
        onclick: () => pick(one.number),
        onfocus: () => point(one.number),
        onblur: () => point(null),
      },
      crop(e.picture, one.box, [e.width, e.height]),
      make(
        "span",
        { class: "what" },
        make("span", { class: "share" }, make("b", {}, `${one.number} · ${one.where}`), make("span", { class: "n" }, percent(one.share))),
        track(one.share),
        make("span", {}, one.words.seen.map((word) => word.text).join(", ")),
        one.test && make("span", {}, chip(one.test.verdict)),
      ),
    ),
    more,
  );
  item.style.setProperty("--own", one.colour);
  item.addEventListener("pointerenter", () => point(one.number));
  item.addEventListener("pointerleave", () => point(null));
  return item;
}

/** Words that are seen, and, small, those that are near. */
function words(look) {
  if (!look.seen.length && !look.near.length) return make("p", { class: "note" }, "No word of the vocabulary is said of it.");
  return [
    look.seen.length > 0 && make("ul", { class: "plain" }, look.seen.map((one) => make("li", {}, make("b", {}, one.text), make("span", { class: "n" }, one.chance)))),
    look.near.length > 0 && [
      make("p", { class: "note" }, `${look.heading}:`),
      make("ul", { class: "plain small" }, look.near.map((one) => make("li", {}, make("span", {}, one.text, one.echo && make("i", {}, " goes with the name")), make("span", { class: "n" }, one.chance || one.unusual)))),
    ],
  ];
}

const chip = (verdict) => make("span", { class: `verdict ${verdict.replaceAll(" ", "-")}` }, verdict);

/** A verdict, and what became of the score. */
const tested = (test) => make("p", { class: "tested" }, chip(test.verdict), ` ${outcome(test)}`);

/** What became of the score, or why it could not be tested, as a sentence. */
function outcome(test) {
  const said = test.said.replace(/^not testable: /, "");
  return `${said.slice(0, 1).toUpperCase()}${said.slice(1)}.`;
}

/** What decides first, then what was tested, then the rest. */
const order = (word) => ["borne out", "not borne out", "not testable"].indexOf(word.used ?? "not testable");

/** Every word that is said as a fact: how likely it is there, and whether the decision rests on it. */
function claimed(e) {
  const rows = [
    ...e.whole.seen.map((one) => [one, "the whole picture"]),
    ...e.regions.flatMap((region) => region.words.seen.map((one) => [one, region.where])),
  ].sort(([one], [other]) => order(one) - order(other));
  const cell = (name, ...children) => make("td", { "data-name": name }, children);
  const table = make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ["What is said", "Where", "Seen: how likely it is there", "Used: does the decision rest on it?"].map((one) => make("th", { scope: "col" }, one)))),
    make(
      "tbody",
      {},
      rows.map(([one, where]) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, one.text, one.echo && make("i", { class: "note" }, " goes with the name")),
          cell("Where", where),
          cell("Seen", make("div", {}, one.there === null ? "measured" : one.chance, one.there !== null && track(one.there))),
          cell("Used", one.test ? make("div", {}, tested(one.test)) : make("span", { class: "note" }, "not tested")),
        ),
      ),
    ),
  );
  return make(
    "section",
    {},
    make("h3", {}, "What is there, and does it matter?"),
    e.silence && make("p", { class: "note" }, `Nothing is said of what is there: ${e.silence}.`),
    rows.length ? make("div", { class: "scroll" }, table) : !e.silence && make("p", { class: "note" }, "No word of the vocabulary is sure enough to be said."),
    e.whole.near.length > 0 && make("details", {}, make("summary", {}, `${e.whole.heading}: ${e.whole.near.length} more of the whole picture`), words({ ...e.whole, seen: [] })),
    e.surroundings && make("div", { class: "around" }, make("h4", {}, "And what is around the object?"), tested(e.surroundings)),
    (rows.length > 0 || e.tally) && make("p", { class: "note" }, `Borne out: ${USED["borne out"][1]}; its score falls without it, and further than without equal areas elsewhere. Not borne out: ${USED["not borne out"][1]}. Not testable: ${USED["not testable"][1]}.`),
    !e.silence && make("p", { class: "note" }, `The words are the opinion of: ${e.space}.`),
  );
}

function considered(e) {
  return make(
    "section",
    {},
    make("h3", {}, "What else it considered"),
    e.predictions.map((one) =>
      make("div", { class: "said" }, one.index === e.target.index ? make("b", {}, one.name) : make("span", {}, one.name), track(one.probability), make("span", { class: "n" }, percent(one.probability))),
    ),
  );
}

function contrast(e) {
  const list = (head, speaks) =>
    make(
      "div",
      {},
      make("p", { class: "note" }, head),
      speaks.length ? make("ul", { class: "plain" }, speaks.map((one) => make("li", {}, one.text, make("span", { class: "n" }, `${one.strength.toFixed(1)} sd`)))) : make("p", { class: "note" }, "nothing of the vocabulary"),
    );
  return make(
    "section",
    {},
    make("h3", {}, "Words that tell it from ", e.contrast.other.name),
    make("div", { class: "two" }, list(`nearer to ${e.target.name}`, e.contrast.speaks_for), list(`nearer to ${e.contrast.other.name}`, e.contrast.speaks_against)),
    make("p", { class: "note" }, "How the words lie between the two classes; whether they are in this picture is said above. sd: standard deviations over the vocabulary."),
  );
}

function against(e) {
  const { against } = e;
  const changed = (url, alt, boxes) => {
    const stage = small(url, alt, e.cropped ? e.frame : null);
    stage.append(...boxes.map((box) => place(make("span", { class: "mark" }), box)));
    return stage;
  };
  return make(
    "section",
    {},
    make("h3", {}, `Why ${e.target.name} and not ${against.other.name}`),
    make("p", { id: "against", tabindex: -1 }, against.said),
    against.in_concepts && make("p", {}, against.in_concepts),
    against.picture &&
      make(
        "div",
        { class: "two" },
        make("figure", {}, changed(e.picture, `The picture ${e.name}, with boxes around what was changed`, against.boxes), make("figcaption", {}, `As it is: ${e.predictions[0].name} ${percent(e.predictions[0].probability)}`)),
        make("figure", {}, changed(against.picture, "The changed picture", []), make("figcaption", {}, `Changed: ${against.after.name} ${percent(against.after.probability)}`)),
      ),
    make("p", { class: "note" }, "This is what the classifier answers to, which need not be what a person would change; a smaller change may exist that was not tried."),
  );
}

function details(explained) {
  const e = explained.shown;
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  return make(
    "details",
    {},
    make("summary", {}, "The whole account, and the settings to repeat this"),
    make("dl", { class: "told" }, Object.entries(e.told).map(([about, text]) => [make("dt", {}, about), make("dd", {}, emphasised(text))])),
    e.sentence && make("p", {}, `In a sentence: ${e.sentence}`),
    e.map_check && make("p", {}, `${e.map_check}.`),
    make("dl", {}, Object.entries(explained.settings).filter(([, value]) => value !== null).map(([key, value]) => [make("dt", {}, key), make("dd", {}, shown(value))])),
  );
}

function links(explained, view) {
  const e = explained.shown;
  const stem = `${e.name.replace(/\.[a-z0-9]{1,5}$/i, "").replace(/[^\p{L}\p{N}._-]+/gu, "-") || "picture"}-why`;
  const json = () => {
    const { shown, ...document } = explained;
    save(new Blob([JSON.stringify(document, null, 1)], { type: "application/json" }), `${stem}.json`);
  };
  const picture = async () => save(await png(view, `${e.target.name} ${percent(e.target.probability)} · red speaks for it, blue against it · ${e.model}`), `${stem}.png`);
  return make(
    "p",
    { class: "links" },
    "Keep it: ",
    make("button", { type: "button", onclick: json }, "JSON"),
    make("button", { type: "button", onclick: picture }, "PNG"),
    make("button", { type: "button", onclick: () => window.print() }, "Print"),
  );
}

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  tell(`${name} is saved.`);
}
