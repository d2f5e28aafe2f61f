"use strict";
// The state of the page is its address: ?query=ID&match=ID&camera=2&words=red+top. A dropped file
// cannot be in an address: there it is query=file, and the file is sent with each question.

const FILE = "file";
const $ = (id) => document.getElementById(id);
const form = $("filters");
let about;
let drops = 0; // files so far, to tell one from the next
let answered = ""; // the search whose answer is shown
let latest = new AbortController();

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const address = () => new URLSearchParams(location.search);
const picture = (id) => `/crop/${id}`;
const percent = (x) => `${Math.round(100 * x)} %`;
const file = () => $("file").files[0];

// An address with some of its parts changed; null leaves one out.
function changed(changes) {
  const given = address();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) given.delete(name);
    else given.set(name, value);
  }
  return `/?${given}`;
}

function go(url) {
  history.pushState(null, "", url);
  show();
}

function tell(sentence) {
  $("error").textContent = sentence;
  $("error").hidden = !sentence;
}

async function ask(path, given, signal) {
  const query = new URLSearchParams(given);
  const options = { signal };
  if (given.get("query") === FILE) {
    if (!file()) throw new Error("The file of this search is not here any more: drop it again.");
    query.delete("query");
    options.method = "POST";
    options.body = file();
    options.headers = { "Content-Type": "application/octet-stream" };
  }
  let answer;
  try {
    answer = await fetch(`${path}?${query}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is it still running?");
  }
  const values = await answer.json();
  if (!answer.ok) throw new Error(values.error);
  return values;
}

// What the address says is shown.
async function show() {
  latest.abort();
  latest = new AbortController();
  const { signal } = latest;
  const given = address();
  fill(given);
  tell("");
  document.body.setAttribute("aria-busy", "true");
  try {
    const match = given.get("match");
    given.delete("match");
    const search = `${given} ${given.get("query") === FILE ? drops : ""}`;
    if (search !== answered) {
      answered = "";
      hideMatch();
      $("status").textContent = "Searching …";
      showFound(await ask("/api/search", given, signal), given);
      answered = search;
    }
    for (const link of $("found").querySelectorAll("a")) {
      if (link.dataset.id === match) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (match && given.get("query")) {
      given.set("match", match);
      showMatch(await ask("/api/compare", given, signal), given);
    } else {
      hideMatch();
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(error.message);
    if (!answered) {
      $("found").replaceChildren();
      $("status").textContent = "";
      $("nobody").hidden = true;
    }
  }
  document.body.removeAttribute("aria-busy");
}

function fill(given) {
  for (const box of form.querySelectorAll("[name=camera]")) {
    box.checked = given.getAll("camera").includes(box.value);
  }
  form.elements.re_rank.checked = given.get("re_rank") === "1";
  for (const name of ["since", "until", "words", "k"]) form.elements[name].value = given.get(name) ?? "";
  if (form.elements.k.selectedIndex < 0) form.elements.k.value = "";
}

function showFound(values, given) {
  const { query, found } = values;
  const image = query && make("img", {
    src: query.picture ?? picture(query.id), alt: `The query, ${query.name ?? file().name}`,
  });
  $("query").replaceChildren(image ?? "");
  $("query-name").textContent = query?.name ?? "";
  $("found-title").textContent = query ? "Nearest crops" : "Crops of the gallery";
  $("nobody").hidden = values.nobody !== true;
  $("nobody").textContent =
    `Nobody: no crop is within ${about.threshold?.toFixed(3)}, the threshold kept in the gallery.`;
  $("status").textContent = summary(values, given);
  $("found").replaceChildren(...found.map((crop, place) => tile(crop, place + 1, Boolean(query))));
}

function summary({ query, found, understood, unknown }, given) {
  const told = [];
  if (!found.length) told.push("No crop passes these filters.");
  else if (query) told.push(`The ${found.length} nearest${given.get("re_rank") ? ", re-ranked" : ""}. Click one to see why.`);
  else told.push("Click a crop to search with it, or drop one of yours.");
  const words = Object.entries(understood).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  if (words.length) told.push(`Understood: ${words.join(", ")}.`);
  if (unknown.length) told.push(`Not known to this model: ${unknown.join(", ")}.`);
  return told.join(" ");
}

function tile(crop, rank, searched) {
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
    if (crop.same) link.append(make("span", { className: "same" }, `within ${about.threshold.toFixed(3)}`));
  }
  link.append(...facts.filter(Boolean).map((fact) => make("span", {}, fact)));
  return make("li", {}, link);
}

function showMatch(values, given) {
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

function hideMatch() {
  const shown = !$("match").hidden;
  $("match").hidden = true;
  return shown;
}

function close() {
  const { match } = Object.fromEntries(address());
  if (!match) return;
  go(changed({ match: null }));
  $("found").querySelector(`[data-id="${CSS.escape(match)}"]`)?.focus();
}

function take() {
  if (!file()) return;
  if (file().size > about.most_bytes) {
    tell(`A file of at most ${about.most_bytes / 2 ** 20} MB is taken.`);
    return;
  }
  drops += 1;
  go(changed({ query: FILE, match: null }));
}

function apply() {
  const given = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...given]) if (!value) given.delete(name, value);
  const query = address().get("query");
  if (query) given.set("query", query);
  go(`/?${given}`);
}

function listen() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (link.id === "close") close();
    else go(link.href);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      document.body.classList.toggle("dragging", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") {
        $("file").files = event.dataTransfer.files;
        take();
      }
    });
  }
  $("file").addEventListener("change", take);
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    const query = address().get("query");
    go(query ? `/?query=${query}` : "/");
  });
  window.addEventListener("popstate", show);
}

async function begin() {
  try {
    about = await ask("/api/about", new URLSearchParams());
  } catch (error) {
    tell(error.message);
    return;
  }
  const cameras = Object.keys(about.cameras).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const told = [`${about.crops.toLocaleString("en")} crops`];
  if (cameras.length) told.push(`${cameras.length} ${cameras.length > 1 ? "cameras" : "camera"}`);
  if (about.threshold !== null) told.push(`one person within ${about.threshold.toFixed(3)}`);
  $("about").textContent = told.join(", ");
  $("cameras").hidden = cameras.length < 2;
  $("cameras").querySelector(".choices").append(
    ...cameras.map((name) => make("label", { title: `${about.cameras[name]} crops` },
      make("input", { type: "checkbox", name: "camera", value: name }), ` ${name}`)),
  );
  $("time").hidden = !about.timed;
  const attributes = Object.entries(about.attributes);
  $("attributes").hidden = !attributes.length;
  $("attributes").querySelector("dl").append(
    ...attributes.flatMap(([name, classes]) => [
      make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, classes.join(", ")),
    ]),
  );
  $("filters-shown").open = matchMedia("(min-width: 48rem)").matches;
  listen();
  await show();
}

begin();
