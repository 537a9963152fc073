// A picture with its map, the frame that the network saw, and boxes.

import { make, percent, place } from "./dom.js";

/**
 * A figure: the picture under its map, with a slider for the map's opacity and a legend.
 * view: {picture, map, frame, cropped, alt, legend: [red, blue], boxes: [{box, colour, name, number}]}
 * pick: is told the number of a box that is clicked; point: of one that is pointed at, null of none.
 */
export function figure(view, { pick = null, point = null } = {}) {
  const picture = make("img", { src: view.picture, alt: view.alt, class: "under" });
  const layer = place(make("img", { src: view.map, alt: "", class: "map" }), view.frame);
  const frame = view.cropped ? place(make("div", { class: "seen" }), view.frame) : null;
  const boxes = (view.boxes ?? []).map((one) => {
    const box = place(make("div", { class: "mark", "data-region": one.number ?? null, title: one.name }, one.number && make("b", {}, String(one.number))), one.box);
    if (one.colour) box.style.setProperty("--own", one.colour);
    if (pick) box.addEventListener("click", () => pick(one.number));
    if (point) {
      box.addEventListener("pointerenter", () => point(one.number));
      box.addEventListener("pointerleave", () => point(null));
    }
    return box;
  });
  const stage = make("div", { class: "stage" }, picture, layer, frame, boxes);
  const said = make("output", { class: "n" });
  const slider = make("input", { type: "range", min: 0, max: 100, step: 5, value: 100 });
  const show = () => {
    stage.style.setProperty("--map", slider.value / 100);
    said.textContent = `${slider.value} %`;
  };
  slider.addEventListener("input", show);
  show();
  const [red, blue] = view.legend;
  return make(
    "figure",
    { class: "view" },
    stage,
    make("label", { class: "slider" }, make("span", {}, "Map"), slider, said),
    make(
      "figcaption",
      { class: "legend" },
      make("span", {}, make("i", { class: "red" }), red),
      make("span", {}, make("i", { class: "blue" }), blue),
      view.cropped && make("span", {}, make("i", { class: "dashed" }), "what the network saw; the rest was cut off"),
      boxes.length > 0 && view.boxesMean && make("span", {}, make("i", { class: "boxed" }), view.boxesMean),
    ),
  );
}

/** A small picture with the frame that the network saw, where that is not all of it. frame: a box, or null. */
export function small(url, alt, frame) {
  return make("span", { class: "stage" }, make("img", { src: url, alt, loading: "lazy", class: "under" }), frame && place(make("span", { class: "seen" }), frame));
}

/** What lies in a box of a picture, enlarged to fill a tile. size: (width, height) of the picture, pixels. */
export function crop(url, box, size) {
  const image = make("img", { src: url, alt: "" });
  const ratio = (box.width * size[0]) / (box.height * size[1]);
  const inner = make("div", { class: "crop" }, image);
  inner.style.aspectRatio = String(ratio);
  if (ratio < 1.5) inner.style.height = "100%";
  else inner.style.width = "100%";
  image.style.width = `${100 / box.width}%`;
  image.style.left = `${(-100 * box.left) / box.width}%`;
  image.style.top = `${(-100 * box.top) / box.height}%`;
  return make("div", { class: "tile" }, inner);
}

/** The picture with its map, frame and boxes, and a line of text below, as a PNG file. */
export async function png(view, line) {
  const [picture, map] = await Promise.all([view.picture, view.map].map(loaded));
  const width = picture.naturalWidth;
  const height = picture.naturalHeight;
  const pen = Object.assign(document.createElement("canvas"), { width: 2 * width + 12, height: height + 44 }).getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
  pen.drawImage(picture, 0, 0);
  const on = (box) => [box.left * width, box.top * height, box.width * width, box.height * height];
  for (const one of view.boxes ?? []) {
    pen.strokeStyle = one.colour ?? "#fff";
    pen.lineWidth = 4;
    pen.strokeRect(...on(one.box));
  }
  pen.save();
  pen.translate(width + 12, 0);
  pen.beginPath();
  pen.rect(0, 0, width, height);
  pen.clip();
  pen.filter = "grayscale(.75) brightness(1.15)";
  pen.drawImage(picture, 0, 0);
  pen.filter = "none";
  pen.drawImage(map, ...on(view.frame));
  if (view.cropped) {
    pen.setLineDash([10, 6]);
    pen.strokeStyle = "#000";
    pen.lineWidth = 2;
    pen.strokeRect(...on(view.frame));
  }
  pen.restore();
  pen.fillStyle = "#1c2024";
  pen.font = "18px system-ui, sans-serif";
  pen.fillText(line, 6, height + 29, pen.canvas.width - 12);
  return new Promise((done) => pen.canvas.toBlob(done, "image/png"));
}

async function loaded(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

/** "where", its share of all relevance. */
export const named = (region) => `${region.where}, ${percent(region.share)} of relevance`;
