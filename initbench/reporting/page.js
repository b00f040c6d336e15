"use strict";
// The page's own script: the table's order, filters and metric, the permanent link to a view, light and dark, and the
// data as files. Without it the page is whole, and still.
(() => {
  const root = document.documentElement;
  const read = (id) => document.getElementById(id);
  const data = JSON.parse(read("data").textContent);
  const body = read("rows"), rows = [...body.rows], heads = [...read("explorer").tHead.rows[0].cells];
  const marked = [...document.querySelectorAll("[data-choice]")];
  const everything = () => ({ filters: {}, metric: data.metrics[0][0], sort: "", than: "" });
  const view = everything();
  const PLOT = { width: 96, height: 14, margin: 5 };
  root.classList.add("scripted");

  // Light and dark: the system's choice, or the reader's.
  const theme = read("theme"), system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const remember = (value) => { try { localStorage.setItem("initbench-theme", value); } catch { /* not kept, then */ } };
  const named = () => { theme.textContent = dark() ? "Light colours" : "Dark colours"; };
  try { root.dataset.theme = localStorage.getItem("initbench-theme") || ""; } catch { root.dataset.theme = ""; }
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; remember(root.dataset.theme); named(); });
  system.addEventListener("change", named);
  named();

  // The controls.
  const control = (label, name, options) => {
    const wrapper = document.createElement("div"), title = document.createElement("label"), select = document.createElement("select");
    title.textContent = label;
    title.htmlFor = select.id = `choose-${name}`;
    wrapper.append(title, select);
    select.dataset.name = name;
    for (const [value, text] of options) select.append(new Option(text, value));
    read("controls").append(wrapper);
    return select;
  };
  const unique = (values) => [...new Set(values)];
  const spoken = (setting) => setting.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
  const all = (values) => [["", "all"], ...values.map((value) => [value, value])];
  const filters = [];
  data.settings.forEach((setting, i) => {
    const values = unique(data.choices.map((choice) => choice[i]));
    if (values.length > 1) filters.push(control(spoken(setting), setting, all(values)));
  });
  if (data.initializers.length > 1) filters.push(control("Initializer", "initializer", all(data.initializers)));
  const metric = control("Metric", "metric", data.metrics);
  const others = data.pairs.length ? data.initializers : [];
  const than = others.length ? control("Compare with", "than", [["", "the leader"], ...others.map((name) => [name, name])]) : null;

  // How far a row is behind the initializer that was chosen to compare with, as text and number; null: the leader.
  const behind = (i) => {
    if (!view.than) return null;
    const [choice, initializer] = data.rows[i], other = data.initializers.indexOf(view.than);
    return initializer === other ? ["–", 0] : data.pairs[choice][initializer][other] || ["–", null];
  };

  // What a row is sorted by, for each heading.
  const number = () => data.metrics.findIndex(([name]) => name === view.metric);
  const count = data.settings.length;
  const key = (column, i) => {
    const [choice, initializer, failed, led, learned, metrics] = data.rows[i];
    const cells = metrics[number()];
    if (column < count) return numeric[column] ? +data.choices[choice][column] : orders[column].indexOf(data.choices[choice][column]);
    return [data.initializers[initializer], cells[1], cells[1], view.than ? behind(i)[1] : led, cells[5], failed, learned][column - count];
  };
  const orders = data.settings.map((_, i) => unique(data.choices.map((choice) => choice[i])));
  const numeric = orders.map((values) => values.every((value) => value !== "" && !isNaN(value))); // else the grid's order
  const compare = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  heads.forEach((head, column) => {
    if (head.classList.contains("plot")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const [now, order] = view.sort.split(".");
      view.sort = now !== String(column) ? `${column}.up` : order === "up" ? `${column}.down` : "";
      show(true);
    });
  });

  const shape = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
    return element;
  };
  const plot = (cell, values, low, high, colour) => {
    const [mean, from, to] = values, { width, height, margin } = PLOT;
    cell.replaceChildren();
    if (mean === null) return;
    const x = (value) => margin + (width - 2 * margin) * (high > low ? (value - low) / (high - low) : 0.5);
    const drawn = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const middle = height / 2, style = `stroke: ${colour}; fill: ${colour}`;
    drawn.append(shape("line", { x1: 0, x2: width, y1: middle, y2: middle, style: "stroke: var(--line)" }));
    if (from !== null) {
      drawn.append(shape("line", { x1: x(from), x2: x(to), y1: middle, y2: middle, "stroke-width": 3, style }));
    }
    drawn.append(shape("circle", { cx: x(mean), cy: middle, r: 3.5, style }));
    cell.append(drawn);
  };

  const titled = (id, text) => { read(id).firstElementChild.textContent = text; };
  const chosen = (i) => data.settings.every((setting, s) => !view.filters[setting] || data.choices[i][s] === view.filters[setting]);
  const show = (store) => {
    const kept = data.choices.map((_, i) => chosen(i));
    for (const element of marked) element.hidden = !kept[element.dataset.choice];
    const only = view.filters.initializer;
    const visible = rows.map((_, i) => kept[data.rows[i][0]] && (!only || data.initializers[data.rows[i][1]] === only));
    const which = number(), numbers = [];
    rows.forEach((row, i) => {
      row.hidden = !visible[i];
      if (visible[i]) numbers.push(...data.rows[i][5][which].slice(1, 4).filter((value) => value !== null));
    });
    const low = Math.min(...numbers), high = Math.max(...numbers);
    rows.forEach((row, i) => {
      const cells = data.rows[i][5][which], place = row.cells;
      const [told, dagger] = place[count + 2].children;
      told.textContent = cells[0];
      if (dagger) dagger.hidden = which > 0; // it is about test accuracy
      place[count + 3].textContent = view.than ? behind(i)[0] : place[count + 3].dataset.leader;
      place[count + 4].textContent = cells[4];
      if (visible[i]) plot(place[count + 1], cells.slice(1, 4), low, high, `var(--c${data.rows[i][1]})`);
    });
    titled("metric-head", `${data.metrics[which][1]}, all runs`);
    titled("behind-head", `Behind ${view.than || "the leader"}, points`);
    const [column, order] = view.sort.split(".");
    const indices = rows.map((_, i) => i);
    if (view.sort) {
      indices.sort((a, b) => {
        const [left, right] = [key(+column, a), key(+column, b)];
        if (left === null || right === null) return (left === null) - (right === null); // nothing comes last
        return (order === "up" ? 1 : -1) * compare(left, right) || a - b;
      });
    }
    body.append(...indices.map((i) => rows[i]));
    read("explorer").toggleAttribute("data-sorted", Boolean(view.sort));
    heads.forEach((head, i) => {
      if (view.sort && i === +column) head.setAttribute("aria-sort", order === "up" ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    for (const select of filters) select.value = view.filters[select.dataset.name] || "";
    metric.value = view.metric;
    if (than) than.value = view.than;
    const some = visible.filter(Boolean).length;
    read("shown").textContent = `${some} of ${rows.length} rows` + (view.sort ? `, by ${heads[column].textContent.trim().toLowerCase()}` : "");
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(view.filters)) if (value) parameters.set(name, value);
    if (which) parameters.set("metric", view.metric);
    if (view.than) parameters.set("than", view.than);
    if (view.sort) parameters.set("sort", view.sort);
    const address = "#" + (parameters.toString() ? "view?" + parameters : "explore");
    read("link").href = address;
    if (store) history.replaceState(null, "", address);
  };

  const take = () => {
    const [place, text] = [location.hash.slice(0, 6), location.hash.slice(6)];
    if (place !== "#view?") return;
    const parameters = new URLSearchParams(text);
    view.filters = {};
    for (const select of filters) {
      const value = parameters.get(select.dataset.name);
      if (value && [...select.options].some((option) => option.value === value)) view.filters[select.dataset.name] = value;
    }
    const wanted = parameters.get("metric");
    view.metric = data.metrics.some(([name]) => name === wanted) ? wanted : data.metrics[0][0];
    view.than = others.includes(parameters.get("than")) ? parameters.get("than") : "";
    const sort = /^(0|[1-9]\d*)\.(up|down)$/.exec(parameters.get("sort") || "");
    view.sort = sort && +sort[1] < heads.length && !heads[sort[1]].classList.contains("plot") ? sort[0] : "";
    show(false);
    read("explore").scrollIntoView();
  };

  for (const select of filters) select.addEventListener("change", () => { view.filters[select.dataset.name] = select.value; show(true); });
  metric.addEventListener("change", () => { view.metric = metric.value; show(true); });
  if (than) than.addEventListener("change", () => { view.than = than.value; show(true); });
  read("reset").addEventListener("click", () => { Object.assign(view, everything()); show(true); });
  addEventListener("hashchange", take);
  show(false);
  take();

  // The table comes compressed; who asks for CSV gets CSV.
  const csv = read("csv");
  if (csv && "DecompressionStream" in window) {
    const packed = Uint8Array.from(atob(csv.href.split(",")[1]), (letter) => letter.charCodeAt(0));
    csv.addEventListener("click", async (event) => {
      event.preventDefault();
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      const file = await new Response(stream).blob();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([file], { type: "text/csv" }));
      link.download = csv.dataset.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
    csv.textContent = csv.dataset.label;
  }
})();
