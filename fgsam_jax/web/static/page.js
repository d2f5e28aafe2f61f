// The state of the page is its address: ?query=ID&match=ID&camera=2&words=red+top. A dropped file
// cannot be in an address: there it is query=file, and the file is sent with each question.

import { $, address, changed, hideMatch, make, showFound, showMatch } from "./view.js";

const FILE = "file";
const form = $("filters");
let about;
let drops = 0; // files so far, to tell one from the next
let answered = ""; // the search whose answer is shown
let latest = new AbortController();

const file = () => $("file").files[0];

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
      showFound(await ask("/api/search", given, signal), given, about.threshold, file()?.name);
      answered = search;
    }
    for (const link of $("found").querySelectorAll("a")) {
      if (link.dataset.id === match) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (match && given.get("query")) {
      given.set("match", match);
      showMatch(await ask("/api/compare", given, signal));
    } else {
      hideMatch();
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(error.message);
    hideMatch();
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
