// The explorer of an audit: findings, the pictures of one, and one picture.

import { make } from "./dom.js";

/** Show what `where` names, the parts of the address after #audit. */
export function audit(out, where, { problem }) {
  out.replaceChildren(make("p", { class: "note" }, where.join("/")));
  problem("");
}
