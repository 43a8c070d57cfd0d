// The list of sequences: only the rows in sight exist.

const ROW = 34;
let rows = []; // positions of the sequences in the order of the list

const difference = (sequence) => sequence.scores[state.a] - sequence.scores[state.b];

function listColumns() {
  const columns = [
    { key: "name", title: "Sequence", width: 8, value: ({ name }) => name, upFirst: true },
    { key: "length", title: "Frames", width: 4, value: ({ length }) => length },
  ];
  for (const { tracker, index } of shown()) {
    columns.push({
      key: `tracker ${index}`,
      title: tracker.label,
      tracker,
      width: 4.6,
      value: ({ scores }) => Number(scores[index]),
      upFirst: true,
    });
  }
  if (trackers().length > 1) columns.push({ key: "difference", title: "A − B", width: 4.4, value: difference });
  columns.push({
    key: "failure",
    title: "Failure of A",
    width: 8.6,
    upFirst: true,
    value: ({ failures, length }) => (failures[state.a].length ? failures[state.a][0][1] : length + 1e9),
  });
  return columns;
}

function drawList() {
  const { sequences } = state.benchmark,
    columns = listColumns(),
    terms = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (sequence) => [sequence.name, sequence.class, ...sequence.attributes].join(" ").toLowerCase();
  rows = sequences
    .map((_, index) => index)
    .filter(
      (index) =>
        terms.every((term) => text(sequences[index]).includes(term)) &&
        (!state.filter || state.filter.has(sequences[index], index)),
    );
  const { value } = columns.find(({ key }) => key === state.listSort.column) || columns[0];
  rows.sort(
    (one, two) => compare(value(sequences[one]), value(sequences[two])) * (state.listSort.down ? -1 : 1) || one - two,
  );
  // The first column takes what is left. A long name must not widen its row: head and rows would come apart.
  const [first, ...others] = columns.map(({ width }) => `${width}em`);
  byId("list").style.setProperty("--columns", [`minmax(${first}, 1fr)`, ...others].join(" "));
  byId("list").style.setProperty("--narrowest", `${columns.reduce((sum, { width }) => sum + width + 0.6, 1)}em`);
  byId("list-head").replaceChildren(
    ...columns.map(({ key, title, tracker, upFirst }) =>
      sortHead(
        tracker ? [swatch(tracker), make("span", { class: "head-name" }, title.replace(/[_/-]/g, "$&\u200b"))] : title,
        key,
        state.listSort,
        drawList,
        {
          tag: "div",
          upFirst,
          title: tracker ? `Mean overlap of ${title}` : null,
          class: key === "name" ? "" : "number",
        },
      ),
    ),
  );
  byId("list").style.setProperty("--rows", `${Math.max(rows.length, 2) * ROW + 2}px`);
  byId("count").textContent =
    rows.length === sequences.length
      ? `${sequences.length} sequences`
      : `${rows.length} of ${sequences.length} sequences`;
  byId("clear").hidden = !state.filter;
  if (state.filter) byId("clear").textContent = `${state.filter.text} ×`;
  drawRows();
}

/** Make the rows in sight; all of the first hundred where `all` is given, for printing. */
function drawRows(all = false) {
  const body = byId("list-body"),
    top = body.scrollTop;
  const first = all ? 0 : Math.max(0, Math.floor(top / ROW) - 4);
  const last = all ? Math.min(rows.length, 100) : Math.min(rows.length, Math.ceil((top + body.clientHeight) / ROW) + 4);
  const space = make("div", { class: "space" });
  space.style.height = `${(all ? last : rows.length) * ROW}px`;
  for (let i = first; i < last; i++) space.append(listRow(rows[i], i));
  if (!rows.length) space.append(make("p", { class: "note" }, "No sequence fits the search."));
  body.replaceChildren(space);
  body.scrollTop = top;
}

function listRow(index, place) {
  const sequence = state.benchmark.sequences[index];
  const best = Math.max(...shown().map((entry) => Number(sequence.scores[entry.index])));
  const row = make(
    "div",
    {
      class: "row",
      role: "option",
      "aria-selected": String(index === state.sequence),
      "data-sequence": sequence.name,
      onclick: () => openSequence(index, 0),
    },
    make("div", { class: "clip", title: sequence.name }, make("bdi", {}, sequence.name)),
    make("div", { class: "number" }, String(sequence.length)),
    shown().map((entry) =>
      make(
        "div",
        { class: `number ${Number(sequence.scores[entry.index]) === best ? "best" : ""}` },
        sequence.scores[entry.index],
      ),
    ),
  );
  if (trackers().length > 1) {
    const delta = difference(sequence);
    row.append(
      make("div", { class: `number ${Math.abs(delta) < 0.005 ? "" : delta > 0 ? "above" : "below"}` }, signed(delta)),
    );
  }
  row.append(failureBadge(index));
  row.style.transform = `translateY(${place * ROW}px)`;
  return row;
}

/** The first failure of tracker A; a click goes there. */
function failureBadge(index) {
  const failures = state.benchmark.sequences[index].failures[state.a];
  if (!failures.length) return make("div", { class: "number zero" }, "–");
  const [kind, start, recovered] = failures[0];
  const jump = (event) => {
    event.stopPropagation();
    openSequence(index, start);
  };
  return make(
    "div",
    {
      class: "number jump",
      onclick: jump,
      title: `${kind} at frame ${start}, ${recovered == null ? "never recovered" : `recovered at ${recovered}`}`,
    },
    make("i", { class: `key ${kind}` }),
    `${kind} ${start}${recovered == null ? " ✕" : ""}`,
  );
}

function setFilter(text, has) {
  state.filter = { text, has };
  byId("list-body").scrollTop = 0;
  drawList();
  goTo("sequences");
}

/** Go to the row above (-1) or below (1), and scroll it into sight. */
function stepSequence(step) {
  const place = rows.indexOf(state.sequence);
  const next = rows[place < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, place + step))];
  if (next != null) openSequence(next, 0);
}

function scrollToRow() {
  const place = rows.indexOf(state.sequence),
    body = byId("list-body");
  if (place < 0) return;
  if (place * ROW < body.scrollTop) body.scrollTop = place * ROW;
  else if ((place + 1) * ROW > body.scrollTop + body.clientHeight)
    body.scrollTop = (place + 1) * ROW - body.clientHeight;
}
