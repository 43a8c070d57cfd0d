// Tables: scores, pairs of trackers, groups, failures, and what was run.

const markOf = (rank) => ["", "best", "second"][rank];

/** A cell of a head that sorts; `sort` is the state it changes. */
function sortHead(title, column, sort, redraw, options = {}) {
  const is = sort.column === column;
  const change = () => {
    sort.down = is ? !sort.down : !options.upFirst;
    sort.column = column;
    redraw();
  };
  const button = make(
    "button",
    { type: "button", class: "sort", "data-sort": column, onclick: change, title: options.title },
    title,
    is && make("span", { class: "arrow", "aria-hidden": "true" }, sort.down ? " ▾" : " ▴"),
  );
  return make(
    options.tag || "th",
    {
      scope: options.tag ? null : "col",
      class: options.class,
      "aria-sort": is ? (sort.down ? "descending" : "ascending") : null,
    },
    button,
  );
}

function trackerBox(tracker) {
  const toggle = () => {
    state.hidden[state.hidden.has(tracker.label) ? "delete" : "add"](tracker.label);
    drawAll();
  };
  const box = make("input", {
    type: "checkbox",
    onchange: toggle,
    "data-toggle": tracker.label,
    "aria-label": `Show ${tracker.label}`,
  });
  box.checked = !state.hidden.has(tracker.label);
  return make("label", { class: "tracker", title: tracker.weights || null }, box, swatch(tracker), tracker.label);
}

/** Sequences in which a tracker fails at all. */
const failedSequences = (index) =>
  state.benchmark.sequences.filter((sequence) => sequence.failures[index].length).length;

function scoreRow({ tracker, index }) {
  const { columns, intervals, differences } = state.benchmark;
  const cells = columns.map((_, i) =>
    make(
      "td",
      { class: "number" },
      make("span", { class: markOf(tracker.ranks[i]), "data-cell": columns[i] }, tracker.cells[i]),
      intervals && make("small", {}, `${intervals[index][i].map((limit) => limit.toFixed(1)).join(" – ")}`),
    ),
  );
  const pair = differences && differences[index][state.baseline];
  cells.push(
    make("td", { class: "number" }, pair ? pairCell(pair) : index === state.baseline ? "baseline" : "–"),
    make("td", { class: "number" }, String(failedSequences(index))),
    make("td", { class: "number" }, tracker.speed == null ? "–" : tracker.speed.toFixed(1)),
  );
  return make(
    "tr",
    { class: state.hidden.has(tracker.label) ? "hidden-tracker" : null },
    make("th", { scope: "row" }, trackerBox(tracker)),
    cells,
  );
}

/** A difference with its interval and p value; [mean, low, high, p]. */
function pairCell([mean, low, high, p]) {
  const sure = p < 0.05;
  return [
    make("span", { class: sure ? "best" : "" }, signed(mean)),
    make("small", {}, `${signed(low, 1)} – ${signed(high, 1)}, p ${p < 0.001 ? "< 0.001" : p.toFixed(3)}`),
  ];
}

function drawScores() {
  const { columns, differences } = state.benchmark,
    sort = state.scoreSort;
  const values = {
    score: ({ tracker }) => tracker.values[0],
    name: ({ tracker }) => tracker.label,
    difference: ({ index }) => ((differences && differences[index][state.baseline]) || [0])[0],
    failures: ({ index }) => failedSequences(index),
    speed: ({ tracker }) => tracker.speed ?? -1,
  };
  const key = values[sort.column] || (({ tracker }) => tracker.values[columns.indexOf(sort.column)]);
  const rows = trackers().map((tracker, index) => ({ tracker, index }));
  rows.sort((one, two) => compare(key(one), key(two)) * (sort.down ? -1 : 1));
  const head = (title, column, options) => sortHead(title, column, sort, drawScores, options);
  byId("score-table").replaceChildren(
    make(
      "table",
      { class: "scores" },
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          head("Tracker", "name", { upFirst: true }),
          columns.map((column, i) => head(column, i ? column : "score", { class: "number" })),
          head(`Δ ${columns[0]}`, "difference", { class: "number", title: "Difference to the chosen baseline" }),
          head("Failed", "failures", { class: "number", upFirst: true, title: "Sequences with a failure" }),
          head("Frames/s", "speed", { class: "number" }),
        ),
      ),
      make("tbody", {}, rows.map(scoreRow)),
    ),
  );
  byId("score-note").textContent =
    "Percent; bold: best, underlined: second. " +
    (state.benchmark.intervals
      ? "Below each score its 95 % interval over the sequences."
      : "No intervals: there is one sequence only.") +
    (state.benchmark.sequences.length < 10 && differences
      ? " With so few sequences the intervals are too narrow."
      : "");
}

const compare = (one, two) => (typeof one === "string" ? one.localeCompare(two, "en", { numeric: true }) : one - two);

function drawPairs() {
  const { differences } = state.benchmark;
  byId("pairs").hidden = !differences || trackers().length < 2;
  if (byId("pairs").hidden) return;
  const name = (tracker) => [swatch(tracker), tracker.label];
  byId("pair-table").replaceChildren(
    make(
      "table",
      {},
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          make("th", {}, "minus"),
          trackers().map((tracker) => make("th", { class: "number" }, name(tracker))),
        ),
      ),
      make(
        "tbody",
        {},
        trackers().map((tracker, row) =>
          make(
            "tr",
            {},
            make("th", { scope: "row" }, name(tracker)),
            differences[row].map((pair) => make("td", { class: "number" }, pair ? pairCell(pair) : "")),
          ),
        ),
      ),
    ),
  );
}

function drawGroups(kind) {
  const groups = state.benchmark.groups[kind];
  byId(kind).hidden = !groups.length;
  const filter = (group) => setFilter(`${kind} ${group.name}`, (_, index) => group.sequences.includes(index));
  byId(`${kind}-table`).replaceChildren(
    make(
      "table",
      {},
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          make("th", {}, kind === "class" ? "Class" : "Attribute"),
          make("th", { class: "number" }, "Sequences"),
          shown().map(({ tracker }) => make("th", { class: "number" }, swatch(tracker), tracker.label)),
        ),
      ),
      make(
        "tbody",
        {},
        groups.map((group) =>
          make(
            "tr",
            {},
            make("th", { scope: "row" }, group.name),
            make(
              "td",
              { class: "number" },
              countButton(group.sequences.length, () => filter(group)),
            ),
            shown().map(({ index }) =>
              make("td", { class: "number" }, make("span", { class: markOf(group.ranks[index]) }, group.cells[index])),
            ),
          ),
        ),
      ),
    ),
  );
}

const countButton = (count, click, data = {}) =>
  count
    ? make("button", { type: "button", class: "count", onclick: click, ...data }, String(count))
    : make("span", { class: "zero" }, "0");

function drawFailures() {
  const { sequences } = state.benchmark;
  const never = (failures) => failures.length > 0 && failures[failures.length - 1][2] == null;
  const tests = [
    ["none", (failures) => !failures.length],
    ...KINDS.map((kind) => [kind, (failures) => failures.length > 0 && failures[0][0] === kind]),
    ["never recovered", never],
  ];
  const rows = shown().map(({ tracker, index }) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, swatch(tracker), tracker.label),
      make("td", {}, failureBar(index)),
      tests.map(([name, test]) =>
        make(
          "td",
          { class: "number" },
          countButton(
            sequences.filter((sequence) => test(sequence.failures[index])).length,
            () => setFilter(`${tracker.label}: ${name}`, (sequence) => test(sequence.failures[index])),
            { "data-failure": `${name} ${index}` },
          ),
        ),
      ),
      make(
        "td",
        { class: "number" },
        String(sequences.reduce((sum, sequence) => sum + sequence.failures[index].length, 0)),
      ),
    ),
  );
  const heads = ["no failure", ...KINDS, "never recovered", "failures in all"];
  byId("failure-table").replaceChildren(
    make(
      "table",
      {},
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          make("th", {}, "Tracker"),
          make("th", {}, "Share"),
          heads.map((head) =>
            make("th", { class: "number" }, KINDS.includes(head) && make("i", { class: `key ${head}` }), head),
          ),
        ),
      ),
      make("tbody", {}, rows),
    ),
  );
}

/** Shares of the kinds of first failures among all sequences. */
function failureBar(index) {
  const total = state.benchmark.sequences.length;
  return make(
    "div",
    { class: "stack" },
    KINDS.map((kind) => {
      const count = state.benchmark.sequences.filter(
        ({ failures }) => failures[index].length && failures[index][0][0] === kind,
      ).length;
      const part = make("i", { class: kind, title: `${kind}: ${count} of ${total}` });
      part.style.width = `${(100 * count) / total}%`;
      return part;
    }),
  );
}

/** Which weights made the results, in which precision, on what: a line for each tracker. */
function drawMade() {
  byId("made").replaceChildren(
    ...trackers()
      .filter((tracker) => !tracker.baseline)
      .map((tracker) => {
        const { label, weights, facts } = tracker;
        const how = [weights, facts.dtype, facts.backend === "torch" ? "" : facts.backend, facts.device];
        return make("li", {}, swatch(tracker), [label, how.filter(Boolean).join(", ")].join(": "));
      }),
  );
}

function drawFacts() {
  drawMade();
  const names = [...new Set(trackers().flatMap((tracker) => Object.keys(tracker.facts)))];
  const text = (tracker, name) => {
    const value = tracker.facts[name];
    return /sha256/.test(name) && value ? make("code", { title: value }, `${value.slice(0, 12)}…`) : (value ?? "–");
  };
  const note = names.length
    ? null
    : make("p", { class: "note" }, "The results say nothing about the runs that made them.");
  const table = make(
    "table",
    {},
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        make("th", {}, ""),
        trackers().map((tracker) => make("th", {}, swatch(tracker), tracker.label)),
      ),
    ),
    make(
      "tbody",
      {},
      names.map((name) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, name.replace("sha256", "SHA-256").replace("_", " ")),
          trackers().map((tracker) => make("td", {}, text(tracker, name))),
        ),
      ),
    ),
  );
  byId("fact-table").replaceChildren(note || table);
}
