// What the page shows: crops as tiles, a match with its parts and attributes.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const address = () => new URLSearchParams(location.search);
const picture = (id) => `/crop/${id}`;
const percent = (x) => `${Math.round(100 * x)} %`;

// An address with some of its parts changed; null leaves one out.
export function changed(changes) {
  const given = address();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) given.delete(name);
    else given.set(name, value);
  }
  return `/?${given}`;
}

// values: of /api/search; given: what was asked for; limit: the threshold, or null; file: its name.
export function showFound(values, given, limit, file) {
  const { query, found } = values;
  const image = query && make("img", {
    src: query.picture ?? picture(query.id), alt: `The query, ${query.name ?? file}`,
  });
  $("query").replaceChildren(image ?? "");
  $("query-name").textContent = query?.name ?? "";
  $("found-title").textContent = query ? "Nearest crops" : "Crops of the gallery";
  $("nobody").hidden = values.nobody !== true;
  $("nobody").textContent =
    `Nobody: no crop is within ${limit?.toFixed(3)}, the threshold kept in the gallery.`;
  $("status").textContent = summary(values, given);
  $("found").replaceChildren(...found.map((crop, place) => tile(crop, place + 1, Boolean(query), limit)));
}

function summary({ query, found, nothing, understood, unknown }, given) {
  const told = [];
  if (nothing) told.push(`${nothing[0].toUpperCase()}${nothing.slice(1)}.`);
  else if (query) told.push(`The ${found.length} nearest${given.get("re_rank") ? ", re-ranked" : ""}. Click one to see why.`);
  else told.push("Click a crop to search with it, or drop one of yours.");
  const words = Object.entries(understood).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  if (words.length) told.push(`Understood: ${words.join(", ")}.`);
  if (unknown.length) told.push(`Not known to this model: ${unknown.join(", ")}.`);
  return told.join(" ");
}

function tile(crop, rank, searched, limit) {
  const facts = [
    crop.camera && `camera ${crop.camera}`,
    crop.person && (/^\d+$/.test(crop.person) ? `person ${crop.person}` : crop.person),
    crop.time,
    crop.words.join(" "),
  ];
  const image = make("img", { src: picture(crop.id), alt: `Crop ${crop.name}`, loading: "lazy" });
  const link = make("a", { href: changed(searched ? { match: crop.id } : { query: crop.id }), title: crop.name }, image);
  link.dataset.id = crop.id;
  if (searched) {
    const number = make("span", { className: "number" }, `${rank}: `, make("b", {}, crop.distance.toFixed(3)));
    link.append(number);
    if (crop.same) link.append(make("span", { className: "same" }, `within ${limit.toFixed(3)}`));
  }
  link.append(...facts.filter(Boolean).map((fact) => make("span", {}, fact)));
  return make("li", {}, link);
}

// values: of /api/compare.
export function showMatch(values) {
  const { match, parts, attributes } = values;
  $("verdict").textContent = `${values.verdict[0].toUpperCase()}${values.verdict.slice(1)}.`;
  $("match-query").replaceChildren($("query").firstElementChild.cloneNode());
  $("match-crop").replaceChildren(make("img", { src: picture(match.id), alt: `The match, ${match.name}` }));
  $("match-name").textContent = match.name;
  $("use").href = changed({ query: match.id, match: null });
  $("close").href = changed({ match: null });
  $("maps-key").hidden = !parts.some((part) => part.maps.length);
  $("parts").replaceChildren(...parts.map(card));
  $("answers").hidden = !attributes.length;
  $("answers").querySelector("ul").replaceChildren(...attributes.map(answer));
  $("match").hidden = false;
  $("match-title").focus();
  $("match").scrollIntoView({ block: "nearest" });
}

function card({ name, share, squared_distance, visibility, maps }) {
  const bar = make("span", { className: "bar" }, make("span"));
  bar.firstChild.style.width = `${100 * share}%`;
  const whose = ["the query", "the match"];
  const images = maps.map((src, n) => make("img", { src, alt: `Where the ${name} is seen in ${whose[n]}` }));
  const seen = visibility && make("span", {}, `seen ${visibility.map((x) => x.toFixed(2)).join(", ")}`);
  return make(
    "li", {},
    make("b", {}, name),
    bar,
    make("span", {}, `share ${percent(share)}`),
    make("span", {}, `squared ${squared_distance.toFixed(3)}`),
    make("span", { className: "maps" }, ...images),
    seen || "",
  );
}

function answer({ name, classes, probabilities, agree, agreement }) {
  const [one, other] = classes.map((value, n) => `${value} ${percent(probabilities[n])}`);
  const text = agree ? `both ${classes[0]}` : `differ: ${one}, ${other}`;
  return make(
    "li", { className: agree ? "agree" : "differ", title: `${one}, ${other}` },
    make("b", {}, name), ` ${text} `,
    make("span", { className: "faint" }, `(agreement ${percent(agreement)})`),
  );
}

export function hideMatch() {
  $("match").hidden = true;
}
