// The explorer of an audit: its findings, the pictures of one, and one picture. The address says which: #audit/findings/3.

import { read } from "./api.js";
import { make, percent } from "./dom.js";
import { small } from "./picture.js";

let latest = 0; // what was asked for last: an answer that comes later than the next question is dropped

/**
 * Show what `where` names: the parts of the address after #audit.
 * problem(text): says what went wrong. explain(number): asks for the explanation of a picture.
 */
export async function audit(out, where, { problem, explain }) {
  const own = ++latest;
  out.replaceChildren(make("p", { class: "note" }, "Reading the audit"));
  try {
    const [part, number] = where;
    const shown =
      part === "findings" ? finding(await read(`/api/audit/findings/${encodeURIComponent(number)}`), number)
      : part === "pictures" ? picture(await read(`/api/audit/pictures/${encodeURIComponent(number)}`), number, explain)
      : overview(await read("/api/audit"));
    if (own !== latest) return;
    out.replaceChildren(...shown);
    out.querySelector("h2").focus();
  } catch (error) {
    if (own !== latest) return;
    out.replaceChildren(trail());
    problem(error.message);
  }
}

/** The way back. parts: [text, address] after the audit itself; the last one is where we are. */
function trail(...parts) {
  return make("p", { class: "trail" }, make("a", { href: "#audit" }, "All findings"), parts.map((text) => [" › ", text]));
}

const badge = (one) => make("span", { class: one.decides ? "badge decides" : "badge" }, one.badge);

function overview(found) {
  const kinds = [...new Set(found.findings.map((one) => one.title))];
  const select = make("select", { "aria-label": "Kind of finding" }, make("option", { value: "" }, "all kinds"), kinds.map((one) => make("option", {}, one)));
  const list = make("ol", { class: "findings" });
  const show = () => list.replaceChildren(...found.findings.filter((one) => !select.value || one.title === select.value).map(row));
  select.addEventListener("change", show);
  show();
  return [
    make(
      "section",
      { class: "card" },
      make("h2", { tabindex: -1 }, found.title),
      found.setup.map((line) => make("p", { class: "note" }, line)),
      make("p", { class: "note" }, make("b", {}, "Decides"), ": pictures were changed, and the classifier was asked again. ", make("b", {}, "Goes with"), ": two things are seen together, and the decision may rest on something else. ", make("b", {}, "To check"), ": pictures to look at."),
      found.why_not && make("p", { class: "note" }, `Pictures cannot be explained here: ${found.why_not}.`),
      make("h3", {}, `${found.findings.length} ${found.findings.length === 1 ? "finding" : "findings"}`),
      found.findings.length > 0 ? [kinds.length > 1 && make("p", { class: "row" }, select), list] : make("p", {}, "Nothing survived the correction for all that was tested."),
    ),
  ];
}

function row(one) {
  return make("li", {}, badge(one), make("div", {}, make("a", { href: `#audit/findings/${one.number}` }, one.sentence), make("p", { class: "note" }, `${one.title} · ${effect(one)}`)));
}

/** "85 % (64 to 95) of pictures turned into the class". */
function effect(one) {
  const { text } = one.effect;
  return `${text} ${one.unit}${one.q === null ? "" : ` · q ${one.q < 0.001 ? "under 0.001" : one.q.toFixed(3)}`}`;
}

function finding(found, number) {
  const one = found.finding;
  const facts = [
    ["Effect, 95 % interval", effect(one)],
    ["Words", one.words.length > 0 && `${one.words.join(", ")} (${found.words_are})`],
    ["Where", one.place],
    ["Borne out", one.verified && `in ${one.verified[0]} of ${one.verified[1]} of its examples that were put to the test`],
  ].filter(([, value]) => value);
  return [
    trail("finding"),
    make(
      "section",
      { class: "card" },
      make("p", {}, badge(one), " ", make("span", { class: "note" }, one.title)),
      make("h2", { tabindex: -1, class: "long" }, one.sentence),
      make("dl", {}, facts.map(([key, value]) => [make("dt", {}, key), make("dd", {}, value)])),
      found.cost && make("p", { class: "note" }, found.cost),
      found.changed.length > 0 && [make("h3", {}, "What was done: before, and changed"), make("ul", { class: "tiles wide" }, found.changed.map((pair) => turned(pair, number)))],
      tiles(found.examples_are, found.examples, number),
      tiles(found.counters_are, found.counters, number),
      !found.examples.length && !found.counters.length && make("p", { class: "note" }, "It names no single pictures."),
      found.slices.length > 0 && [make("h3", {}, "Slices of the same classes"), make("ol", { class: "findings" }, found.slices.map(row))],
    ),
  ];
}

function turned(pair, number) {
  const images = make("span", { class: "pair" }, make("img", { src: pair.before, alt: pair.file, loading: "lazy" }), make("img", { src: pair.after, alt: "changed", loading: "lazy" }));
  return make("li", {}, make("a", { href: `#audit/pictures/${pair.number}/${number}` }, images, make("span", {}, pair.was, " → ", make("b", {}, pair.said), ` ${percent(pair.probability)}`)));
}

function tiles(head, pictures, number) {
  if (!pictures.length) return null;
  const wrong = pictures.some((one) => one.correct === false) && "Red: the class that is said is wrong.";
  const framed = pictures.some((one) => one.picture && one.frame) && "Dashed: what the network saw.";
  return [
    make("h3", {}, head),
    (wrong || framed) && make("p", { class: "note under-head" }, [wrong, framed].filter(Boolean).join(" ")),
    make(
      "ul",
      { class: "tiles" },
      pictures.map((one) =>
        make(
          "li",
          { class: one.correct === false ? "wrong" : null },
          make("a", { href: `#audit/pictures/${one.number}/${number}` }, one.picture ? small(`/api/audit/pictures/${one.number}.jpg`, one.file, one.frame) : make("span", { class: "none" }, one.file), make("span", {}, said(one))),
        ),
      ),
    ),
  ];
}

/** "crow 97 %", or, of a wrong one, "crow 61 %, is gull". */
function said(one) {
  const wrong = one.correct === false ? `, is ${one.truth}` : "";
  return `${one.prediction} ${percent(one.probability)}${wrong}`;
}

function picture(one, number, explain) {
  const from = location.hash.split("/")[3];
  const back = from === undefined ? "picture" : make("a", { href: `#audit/findings/${from}` }, "finding");
  const facts = [
    ["It says", `${one.prediction} ${percent(one.probability)}`],
    ["Then", one.runner_up && `${one.runner_up} ${percent(one.runner_up_probability)}`],
    ["It is", one.truth ? `${one.truth}${one.correct === null ? "" : one.correct ? " (right)" : " (wrong)"}` : "not labelled"],
    ["What is there", one.words.join(", ") || one.silence],
    ["File", `${one.file}, ${one.width} × ${one.height}`],
  ].filter(([, value]) => value);
  const kept = (url, alt, frame, said) => make("figure", {}, small(url, alt, frame), make("figcaption", {}, said));
  return [
    trail(back, `picture ${number}`),
    make(
      "section",
      { class: "card" },
      make("h2", { tabindex: -1 }, `Picture ${number}`),
      make(
        "div",
        { class: "found" },
        one.picture
          ? make(
              "div",
              { class: "pair" },
              kept(`/api/audit/pictures/${number}.jpg`, one.file, one.frame, one.frame ? "Dashed: what the network saw." : "The picture."),
              one.map && kept(`/api/audit/pictures/${number}/map.jpg`, "where its relevance lies", null, `Relevance${one.frame ? " in what the network saw" : ""}: the brighter, the more.`),
            )
          : make("p", { class: "note" }, "No thumbnail was kept."),
        make("dl", {}, facts.map(([key, value]) => [make("dt", {}, key), make("dd", {}, value)])),
      ),
      one.why_not
        ? make("p", { class: "note" }, `It cannot be explained here: ${one.why_not}.`)
        : make("p", { class: "links" }, make("button", { type: "button", class: "main", onclick: () => explain(number) }, "Explain this picture")),
      one.findings.length > 0 && [make("h3", {}, "Findings that name it"), make("ol", { class: "findings" }, one.findings.map(row))],
    ),
  ];
}
