// Puts the parts together: benchmarks, links into the page, keyboard, theme, print.

const SECTIONS = [
  ["scores", "Scores"],
  ["curves", "Curves"],
  ["pairs", "Pairs"],
  ["attribute", "Attributes"],
  ["class", "Classes"],
  ["failures", "Failures"],
  ["sequences", "Sequences"],
  ["run", "Run"],
  ["notes", "Notes"],
];
let hashTimer = 0;

function drawAll() {
  drawScores();
  drawCharts();
  drawPairs();
  drawGroups("attribute");
  drawGroups("class");
  drawFailures();
  drawFacts();
  drawList();
  if (view.frames) {
    drawTimeline();
    showFrame();
  }
  byId("nav").replaceChildren(
    ...SECTIONS.filter(([id]) => !byId(id).hidden).map(([id, text]) =>
      make("button", { type: "button", onclick: () => goTo(id) }, text),
    ),
  );
}

function fillSelect(select, texts, value, change) {
  select.replaceChildren(...texts.map((text, index) => make("option", { value: index }, text)));
  select.value = value;
  select.onchange = () => change(Number(select.value));
}

function openBenchmark(index) {
  stop();
  Object.assign(state, { benchmark: content.benchmarks[index], filter: null, sequence: 0, frame: 0 });
  view.frames = null;
  byId("benchmark").value = index;
  const order = trackers()
    .map((_, i) => i)
    .sort((one, two) => trackers()[two].values[0] - trackers()[one].values[0]);
  const own = order.filter((i) => !trackers()[i].baseline);
  Object.assign(state, { a: own[0] ?? order[0], b: own[1] ?? order[1] ?? order[0] });
  state.baseline = order.find((i) => trackers()[i].baseline) ?? order[order.length - 1];
  const labels = trackers().map(({ label }) => label);
  fillSelect(byId("baseline"), labels, state.baseline, (value) => {
    state.baseline = value;
    drawScores();
  });
  for (const name of ["a", "b"])
    fillSelect(byId(name), labels, state[name], (value) => {
      state[name] = value;
      drawList();
    });
  state.listSort = { column: `tracker ${state.a}`, down: false }; // the worst sequences first
  const [name, ...facts] = state.benchmark.title.split(/ (?=\()|, (?=protocol )/);
  byId("title").textContent = name;
  byId("subtitle").textContent = facts.join(", ").replace(/^\((.*?)\)/, "$1");
  drawAll();
}

/** The place in the page as #sequence/frame, with the benchmark first where there are several. */
function saveHash() {
  clearTimeout(hashTimer);
  hashTimer = setTimeout(() => {
    const parts = [currentSequence().name, state.frame];
    if (content.benchmarks.length > 1) parts.unshift(benchmarkKey(state.benchmark));
    history.replaceState(null, "", `#${parts.map(encodeURIComponent).join("/")}`);
  }, 150);
}

const benchmarkKey = ({ name, protocol }) =>
  content.benchmarks.filter((other) => other.name === name).length > 1 ? `${name} ${protocol}` : name;

/** Go where the address says; false if it says nothing, or names what is not here. */
function followHash() {
  let parts = [];
  try {
    parts = location.hash.slice(1).split("/").map(decodeURIComponent);
  } catch {
    /* not written by this page */
  }
  if (content.benchmarks.length > 1 && parts.length > 1) {
    const index = content.benchmarks.findIndex((benchmark) => benchmarkKey(benchmark) === parts[0]);
    if (index >= 0) {
      parts.shift();
      if (content.benchmarks[index] !== state.benchmark) openBenchmark(index);
    }
  }
  const index = state.benchmark.sequences.findIndex(({ name }) => name === parts[0]);
  if (index >= 0) openSequence(index, parseInt(parts[1], 10) || 0);
  return index >= 0;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
  if (document.documentElement.dataset.ready) drawAll();
}

/** These scroll the page, unless a sequence is in sight. */
const SCROLLING = ["ArrowUp", "ArrowDown", "Home", "End", " "];

const KEYS = {
  ArrowLeft: (event) => seek(state.frame - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => seek(state.frame + (event.shiftKey ? 10 : 1)),
  ArrowUp: () => stepSequence(-1),
  ArrowDown: () => stepSequence(1),
  k: () => stepSequence(-1),
  j: () => stepSequence(1),
  Home: () => seek(0),
  End: () => seek(currentSequence().length - 1),
  " ": play,
  f: () => nextFailure(state.frame),
  g: () => nextFailure(-1),
  "+": () => zoom(0.5),
  "-": () => zoom(2),
  "/": () => byId("search").focus(),
  t: () => setTheme(isDark() ? "light" : "dark"),
  "?": () => byId("help").showModal(),
};

function isViewerInSight() {
  const { top, bottom } = byId("sequences").getBoundingClientRect();
  return top < innerHeight * 0.7 && bottom > innerHeight * 0.3;
}

function onKey(event) {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (target.matches("select, input:not([type=range]):not([type=checkbox])")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (target.matches("button, input") && event.key === " ") return;
  const tracker = /^[1-9]$/.test(event.key) && trackers()[event.key - 1];
  if (tracker) {
    state.hidden[state.hidden.has(tracker.label) ? "delete" : "add"](tracker.label);
    drawAll();
  } else if (KEYS[event.key] && view.frames && !(SCROLLING.includes(event.key) && !isViewerInSight()))
    KEYS[event.key](event);
  else return;
  event.preventDefault();
}

function listen() {
  addEventListener("keydown", onKey);
  addEventListener("hashchange", () => {
    if (followHash()) byId("sequences").scrollIntoView();
  });
  let sizeTimer = 0;
  addEventListener("resize", () => {
    clearTimeout(sizeTimer);
    sizeTimer = setTimeout(drawAll, 100);
  });
  for (const button of document.querySelectorAll("[data-key]"))
    button.addEventListener("click", () => KEYS[button.dataset.key]({}));
  byId("theme").onclick = KEYS.t;
  byId("keys").onclick = KEYS["?"];
  byId("print").onclick = () => print();
  byId("search").oninput = (event) => {
    state.search = event.target.value;
    byId("list-body").scrollTop = 0;
    drawList();
  };
  byId("clear").onclick = () => {
    state.filter = null;
    drawList();
  };
  byId("list-body").addEventListener("scroll", () => drawRows(), { passive: true });
  byId("scrub").oninput = (event) => seek(Number(event.target.value));
  byId("frame").onchange = (event) => seek(Number(event.target.value) || 0);
  byId("folder").onchange = (event) => chooseFolder([...event.target.files]);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  let before = "light";
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    setTheme("light");
    drawRows(true);
  });
  addEventListener("afterprint", () => {
    setTheme(before);
    drawRows();
  });
  watchTimeline();
}

function start() {
  byId("problems").replaceChildren(...content.problems.map((text) => make("p", { class: "problem" }, text)));
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  fillSelect(byId("benchmark"), content.benchmarks.map(benchmarkKey), 0, (index) => {
    openBenchmark(index);
    openSequence(rows[0], 0);
  });
  byId("benchmark").hidden = content.benchmarks.length < 2;
  listen();
  openBenchmark(0);
  document.documentElement.dataset.ready = "1";
  if (followHash()) byId("sequences").scrollIntoView();
  else openSequence(rows[0], 0);
}

start();
