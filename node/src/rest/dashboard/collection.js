// One collection: its figures, and its points, shards, picture and definition in tabs.

import { collection, get } from "./api.js";
import { facts, make } from "./dom.js";
import { count } from "./format.js";
import { fieldText, stateOf, vectorFields } from "./collections.js";
import { showDefinition } from "./definition.js";
import { placeOf } from "./place.js";
import { showPicture } from "./picture.js";
import { showPoints } from "./points.js";
import { showShards } from "./shards.js";

const TABS = {
  points: ["Points", showPoints],
  picture: ["Picture", showPicture],
  shards: ["Regions and shards", showShards],
  definition: ["Definition", showDefinition],
};

export async function showCollection(view, { parts: [name = "", asked = "points"], parameters, signal }) {
  const info = await get(collection(name), signal);
  const tab = Object.hasOwn(TABS, asked) ? asked : "points";
  const links = Object.entries(TABS).map(([id, [title]]) => make("a", { href: placeOf(name, id), "aria-current": id === tab ? "page" : undefined }, title));
  const body = make("section", { "aria-label": TABS[tab][0] });
  view.append(
    make("p", { class: "trail" }, make("a", { href: "#/" }, "Collections"), " /"),
    make("div", { class: "top" }, make("h1", { title: name }, name), stateOf(info)),
    facts([
      ["Points", count(info.points_count ?? 0)],
      ["Vectors", vectorFields(info.config.params).map(fieldText).join("; ") || "none"],
      ["In graphs", count(info.indexed_vectors_count ?? 0)],
      ["Segments", count(info.segments_count)],
    ]),
    make("nav", { class: "tabs", "aria-label": "Parts of the collection" }, ...links),
    body,
  );
  await TABS[tab][1](body, { name, info, parameters, signal });
}
